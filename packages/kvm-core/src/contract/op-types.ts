import type { OpDeclaration, OpFunction, OpKind } from "./op.js";
import { X86_OPS } from "./x86-ops.js";

type X86Ops = typeof X86_OPS;
type PmuOps = X86Ops["pmu_ops"];
/** The members of the contract that are functions: all but the table `pmu_ops`. */
type TopOps = Omit<X86Ops, "pmu_ops">;
/** Every callable under one name: those of the PMU's table as `pmu_ops.get_msr`. */
type FlatOps = TopOps & { readonly [N in keyof PmuOps as `pmu_ops.${N}`]: PmuOps[N] };

type SignatureOf<D> = D extends OpDeclaration<infer F, OpKind> ? F : never;
type KindOf<D> = D extends OpDeclaration<OpFunction, infer K> ? K : never;

/** The name of an op: the kernel's, letter for letter. */
export type OpName = keyof FlatOps;
export type OpSignature<N extends OpName> = SignatureOf<FlatOps[N]>;
export type OpArgs<N extends OpName> = Parameters<OpSignature<N>>;
export type OpResult<N extends OpName> = ReturnType<OpSignature<N>>;

/** What a backend implements of a table of declarations: what is not of kind `op` may be left out. */
type Implementation<T> = { -readonly [N in keyof T as KindOf<T[N]> extends "op" ? N : never]: SignatureOf<T[N]> } & {
  -readonly [N in keyof T as KindOf<T[N]> extends "op" ? never : N]?: SignatureOf<T[N]> | undefined;
};

/** What can be called of a table of declarations: whoever calls an op of kind `optional` has to ask for it. */
type Callable<T> = { readonly [N in keyof T as KindOf<T[N]> extends "optional" ? never : N]: SignatureOf<T[N]> } & {
  readonly [N in keyof T as KindOf<T[N]> extends "optional" ? N : never]: SignatureOf<T[N]> | undefined;
};

/** `struct kvm_pmu_ops`: the PMU's part of what a backend implements. */
export type KvmPmuOps = Implementation<PmuOps>;
/** `struct kvm_x86_ops`: what a backend implements. */
export type KvmX86Ops = Implementation<TopOps> & { readonly pmu_ops: KvmPmuOps };

/**
 * The ops as their callers see them: a field per op, to be called as `ops.get_msr(vcpu, msr)`. A field may be bound
 * anew at any time, so keep the object and never a field of it.
 */
export type OpCaller = Callable<TopOps> & { readonly pmu_ops: Callable<PmuOps> };

/** Every op under its name, in the contract's order: the PMU's twelve stand where `pmu_ops` does. */
export const OPS: { readonly [N in OpName]: FlatOps[N] } = flatten();
export const OP_NAMES: readonly OpName[] = Object.freeze(Object.keys(OPS) as OpName[]);

export function isOpName(name: string): name is OpName {
  return Object.hasOwn(OPS, name);
}

/** An op's declaration without its signature: what tools and checks read. */
export type AnyOpDeclaration = Omit<OpDeclaration<OpFunction, OpKind>, "args" | "result" | "signature"> & {
  readonly args: readonly string[];
  readonly result: "void" | "boolean" | "number" | "bigint" | "object" | readonly string[];
};

export function describeOp(name: OpName): AnyOpDeclaration {
  return OPS[name];
}

function flatten(): { readonly [N in OpName]: FlatOps[N] } {
  const flat: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(X86_OPS)) {
    if (name !== "pmu_ops") flat[name] = member;
    else for (const [pmuName, pmuOp] of Object.entries(member)) flat[`pmu_ops.${pmuName}`] = pmuOp;
  }
  return Object.freeze(flat) as { readonly [N in OpName]: FlatOps[N] };
}
