import type { KvmErrorCode } from "./errors.js";

/** Any function that an op can be. Backends' functions are free functions: they get no `this`. */
export type OpFunction = (this: void, ...args: never[]) => unknown;

/** A name for each argument. Mapped over a named parameter: mapped inline, it would map the array's methods too. */
export type Labels<A extends readonly unknown[]> = { readonly [I in keyof A]: string };

/** What an op answers with, as a value that tools can read: the set of strings is spelled out, anything else is named. */
export type ResultKind<R> = [R] extends [void]
  ? "void"
  : [R] extends [boolean]
    ? "boolean"
    : [R] extends [number]
      ? "number"
      : [R] extends [bigint]
        ? "bigint"
        : [R] extends [string]
          ? readonly R[]
          : "object";

/** In what state of the host an op is called: what the key means is the text. */
export const OP_CONTEXTS = {
  module: "while the backend is registered or removed; may sleep",
  "per-cpu": "on one processor, by IPI or when it comes and goes; interrupts off",
  "vm-ioctl": "in a call on the VM; may sleep",
  "vcpu-ioctl": "in a call on the vCPU, which is loaded; may sleep",
  "vcpu-loaded": "with the vCPU loaded on the current processor",
  "before-entry": "in the run loop before entry, with the vCPU loaded",
  "preempt-off": "with preemption off",
  "interrupts-off": "next to the entry, with interrupts and preemption off",
  "mmu-lock": "under the lock of the MMU; no sleeping",
  any: "from anywhere, a host interrupt included; the vCPU may be running elsewhere",
} as const;
export type OpContext = keyof typeof OP_CONTEXTS;

/** What is said about an op beside its signature, its group and its result's meaning. `F` is the signature. */
export interface OpDescription<F extends OpFunction> {
  /** A name for each argument, in order. A first one named `vcpu`, `vm` or `pmc` says whose call it is. */
  readonly args: Labels<Parameters<F>>;
  readonly context: OpContext;
  /** Called on every entry, every exit or every fault. */
  readonly hot: boolean;
  readonly result: ResultKind<ReturnType<F>>;
  /** What a call fills in: arguments, or members of the vCPU's state. */
  readonly fills?: string | undefined;
  /** Codes of the errors that the op may throw: where the kernel's returns -errno. */
  readonly throws?: readonly KvmErrorCode[] | undefined;
  readonly summary: string;
}

/** What the result means, where there is one. For a boolean, the first word names what `true` says. */
export type ResultMeaning<R> = [R] extends [void] ? { readonly returns?: never } : { readonly returns: string };

/** As in later kernels' kvm-x86-ops.h: KVM_X86_OP, KVM_X86_OP_OPTIONAL and KVM_X86_OP_OPTIONAL_RET0. */
export type OpKind =
  /** Every backend has it. */
  | "op"
  /** A backend may leave it out, at the latest in `hardware_setup`; callers must ask. */
  | "optional"
  /** A backend may leave it out; a call then answers 0, false or nothing. */
  | "ret0";

export interface OpDeclaration<F extends OpFunction, K extends OpKind> extends OpDescription<F> {
  readonly kind: K;
  /** What the result means; absent where the op returns nothing. */
  readonly returns?: string | undefined;
  /** Carries the signature in the type; never there at run time. */
  readonly signature?: F;
}

function declare<K extends OpKind>(kind: K) {
  return <F extends OpFunction>() =>
    (description: OpDescription<F> & ResultMeaning<ReturnType<F>>): OpDeclaration<F, K> =>
      Object.freeze({ kind, ...description });
}

export const op = declare("op");
export const optional = declare("optional");
export const ret0 = declare("ret0");
