import "reflect-metadata";
import * as tsyringe from "tsyringe";
import type { ArchBackend, Host, Interceptor } from "../contract/index.js";

declare const PROVIDES: unique symbol;

/** Names what is injected, and keeps its type: a bare symbol would lose it. */
export type Token<T> = symbol & { readonly [PROVIDES]?: T };

export function token<T>(name: string): Token<T> {
  return Symbol(name);
}

/** What the composition root registers. */
export const HOST: Token<Host> = token("Host");
export const BACKEND: Token<ArchBackend> = token("ArchBackend");
export const INTERCEPTOR: Token<Interceptor> = token("Interceptor");

/** Have a constructor's parameter injected. Every parameter says its token: what compilers emit of types differs. */
export function inject<T>(what: Token<T>): ParameterDecorator {
  return tsyringe.inject(what) as ParameterDecorator;
}

/** Have everything that is registered under a token injected, in order of registration; an empty list where nothing is. */
export function injectAll<T>(what: Token<T>): ParameterDecorator {
  return tsyringe.injectAll(what, { isOptional: true }) as ParameterDecorator;
}

/** Mark a class whose constructor's parameters are injected. */
export function injectable(): ClassDecorator {
  return tsyringe.injectable() as ClassDecorator;
}
