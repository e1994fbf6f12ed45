import { SyncHook, type HookInterceptor } from "tapable";

/** Place of a tap among the others: tapable's rules. */
export interface TapOrder {
  readonly name: string;
  readonly stage?: number | undefined;
  readonly before?: string | undefined;
}

interface Carried<T> {
  readonly carried: T;
}

interface CarryingInterceptor<E, R, T, O> extends HookInterceptor<[E], R, Carried<T>> {
  readonly observer: O;
}

/** Make the function that a call runs from what is attached, in order. */
export type Compile<E, R, T, O> = (taps: readonly T[], observers: readonly O[]) => (event: E) => R;

/**
 * A tapable hook that can be left again, and that is compiled to closures.
 *
 * tapable generates code with `new Function`, which a strict content security policy forbids, has no way to take a tap
 * off, and never tells interceptors of errors. Giving the instance a `compile` of its own mends all three and keeps
 * tapable's order of taps.
 */
export class LiveHook<E, R, T extends object, O extends object> {
  readonly name: string;
  readonly #hook: SyncHook<[E], R, Carried<T>>;
  /** tapable's delegate that compiles at the next call: putting it back is how a change takes effect. */
  readonly #recompile: (event: E) => R;

  constructor(name: string, compile: Compile<E, R, T, O>) {
    this.name = name;
    const hook = new SyncHook<[E], R, Carried<T>>(["event"], name);
    this.#hook = hook;
    this.#recompile = hook.call;
    Object.assign(hook, {
      compile: (): ((event: E) => R) => compile(this.taps, this.observers),
    });
  }

  get used(): boolean {
    return this.#hook.isUsed();
  }

  /** What is tapped, in order. */
  get taps(): readonly T[] {
    return this.#hook.taps.filter((tap) => isCarrying<T, typeof tap>(tap)).map((tap) => tap.carried);
  }

  get observers(): readonly O[] {
    return this.#hook.interceptors.filter((item) => isObserving<O, typeof item>(item)).map((item) => item.observer);
  }

  call(event: E): R {
    return this.#hook.call(event);
  }

  /** Attach, and get the way to detach. */
  tap(order: TapOrder, carried: T): () => void {
    const { name, stage, before } = order;
    this.#hook.tap(
      { name, carried, ...(stage === undefined ? {} : { stage }), ...(before === undefined ? {} : { before }) },
      unreachable,
    );
    return () => {
      this.#remove(this.#hook.taps, (tap) => isCarrying(tap) && tap.carried === carried);
    };
  }

  observe(name: string, observer: O): () => void {
    const interceptor: CarryingInterceptor<E, R, T, O> = { name, observer };
    this.#hook.intercept(interceptor);
    return () => {
      this.#remove(this.#hook.interceptors, (item) => isObserving(item) && item.observer === observer);
    };
  }

  #remove<I>(list: I[], isIt: (item: I) => boolean): void {
    const index = list.findIndex(isIt);
    if (index < 0) return;
    list.splice(index, 1);
    this.#hook.call = this.#recompile;
  }
}

function isCarrying<T, I extends object = object>(tap: I): tap is I & Carried<T> {
  return "carried" in tap;
}

function isObserving<O, I extends object = object>(interceptor: I): interceptor is I & { readonly observer: O } {
  return "observer" in interceptor;
}

function unreachable(): never {
  throw new Error("a tap runs through what its hook compiles");
}
