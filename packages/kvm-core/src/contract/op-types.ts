import type { OpDeclaration, OpFunction, OpKind } from "./op.js";
import { OP_GROUPS, type OpGroup } from "./ops/index.js";
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
/** The field of `struct kvm_x86_ops` or of `struct kvm_pmu_ops` that an op's name stands for. */
export type OpField =
  | { readonly table: "x86_ops"; readonly member: keyof TopOps }
  | { readonly table: "pmu_ops"; readonly member: keyof PmuOps };
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

/** Where the call table, and a backend's, has an op. */
export function opField(name: OpName): OpField {
  return isMember(name)
    ? { table: "x86_ops", member: name }
    : { table: "pmu_ops", member: name.slice("pmu_ops.".length) as keyof PmuOps };
}

function isMember(name: OpName): name is keyof TopOps {
  return Object.hasOwn(X86_OPS, name);
}

/** Something for each op, made of its name. */
export function forEachOp<T>(make: (name: OpName) => T): { readonly [N in OpName]: T } {
  return Object.fromEntries(OP_NAMES.map((name) => [name, make(name)])) as { readonly [N in OpName]: T };
}

/** An op's declaration without its signature, with its group: what tools and checks read. */
export type AnyOpDeclaration = Omit<OpDeclaration<OpFunction, OpKind>, "args" | "result" | "signature"> & {
  readonly group: OpGroup;
  readonly args: readonly string[];
  readonly result: "void" | "boolean" | "number" | "bigint" | "object" | readonly string[];
};

const DESCRIPTIONS: { readonly [N in OpName]: AnyOpDeclaration } = Object.freeze(
  forEachOp((name) => Object.freeze({ ...OPS[name], group: groupOf(OPS[name]) })),
);

export function describeOp(name: OpName): AnyOpDeclaration {
  return DESCRIPTIONS[name];
}

/** The group whose record has the declaration. */
function groupOf(declaration: unknown): OpGroup {
  const groups = Object.entries(OP_GROUPS) as [OpGroup, Readonly<Record<string, unknown>>][];
  const found = groups.find(([, members]) => Object.values(members).includes(declaration));
  if (found === undefined) throw new Error("the list has an op that is in no group");
  return found[0];
}

function flatten(): { readonly [N in OpName]: FlatOps[N] } {
  const pmu = Object.entries(X86_OPS.pmu_ops).map(([name, declared]) => [`pmu_ops.${name}`, declared] as const);
  const flat = Object.entries(X86_OPS).flatMap(([name, member]): (readonly [string, unknown])[] =>
    name === "pmu_ops" ? pmu : [[name, member]],
  );
  return Object.freeze(Object.fromEntries(flat) as { readonly [N in OpName]: FlatOps[N] });
}
