import "reflect-metadata";
import { container } from "tsyringe";
import { KvmError } from "../contract/index.js";
import type { Token } from "./tokens.js";

/** A class whose parameters are injected. */
export type Injectable<T> = new (...args: never[]) => T;

/**
 * What one composition is made of: a container of its own, apart from every other in the process.
 *
 * Errors come out as they were thrown; the container would wrap them and lose their class and cause.
 */
export class Registry {
  readonly #container = container.createChildContainer();
  /** The innermost error of the resolution under way. */
  #thrown: { readonly error: unknown } | undefined = undefined;

  value<T>(token: Token<T>, value: T): this {
    this.#container.register<T>(token, { useValue: value });
    return this;
  }

  /** Made when it is first asked for, and once. */
  factory<T>(token: Token<T>, make: (registry: Registry) => T): this {
    let made: { readonly value: T } | undefined;
    this.#container.register<T>(token, {
      useFactory: () => (made ??= { value: this.#capture(() => make(this)) }).value,
    });
    return this;
  }

  /** A class marked `@injectable()`; made when it is first asked for, and once. */
  class<T extends object>(token: Token<T>, type: Injectable<T>): this {
    return this.factory(token, () => this.#container.resolve<T>(type as new (...args: unknown[]) => T));
  }

  has(token: Token<unknown>): boolean {
    return this.#container.isRegistered(token);
  }

  /** Throws ENOENT where nothing is registered under the token. */
  one<T>(token: Token<T>): T {
    if (!this.has(token)) throw new KvmError("ENOENT", "resolve", `nothing provides ${token.description ?? "this"}`);
    return this.#edge(() => this.#container.resolve<T>(token));
  }

  /** Everything that is registered under a token, in order of registration. */
  all<T>(token: Token<T>): T[] {
    return this.has(token) ? this.#edge(() => this.#container.resolveAll<T>(token)) : [];
  }

  #capture<T>(make: () => T): T {
    try {
      return make();
    } catch (error) {
      this.#thrown ??= { error };
      throw error;
    }
  }

  #edge<T>(resolve: () => T): T {
    this.#thrown = undefined;
    try {
      return resolve();
    } catch (error) {
      const { error: innermost } = this.#thrown ?? { error };
      throw innermost;
    } finally {
      this.#thrown = undefined;
    }
  }
}
