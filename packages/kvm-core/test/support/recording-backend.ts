import { describeOp, OP_NAMES } from "../../src/contract/index.js";
import type { HostClock, KvmX86Ops, OpCaller, OpName, Pmc, Vcpu, Vm } from "../../src/contract/index.js";

/** Virtual time that moves only by charges. */
export function testClock(): HostClock {
  let cycles = 0;
  return {
    tscKhz: 1_000_000,
    now: () => cycles,
    cycles: () => cycles,
    charge: (by) => {
      cycles += by;
    },
    advanceTo: (ns) => {
      cycles = Math.max(cycles, ns);
    },
  };
}

export interface RecordedCall {
  readonly op: OpName;
  readonly args: readonly unknown[];
}

/** Every op of the contract, each recording its call and giving a result of its kind. */
export function recordingOps(calls: RecordedCall[], leaveOut: readonly OpName[] = []): KvmX86Ops {
  const top: Record<string, unknown> = {};
  const pmu: Record<string, unknown> = {};
  for (const op of OP_NAMES) {
    if (leaveOut.includes(op)) continue;
    const fn = (...args: unknown[]): unknown => {
      calls.push({ op, args });
      return backendResult(op);
    };
    if (op.startsWith("pmu_ops.")) pmu[op.slice("pmu_ops.".length)] = fn;
    else top[op] = fn;
  }
  return { ...top, pmu_ops: pmu } as unknown as KvmX86Ops;
}

const BACKEND_OBJECT = Object.freeze({ of: "backend" });
const OTHER_OBJECT = Object.freeze({ of: "interceptor" });

/** What the recording backend answers. */
export function backendResult(op: OpName): unknown {
  return resultOf(op, 0);
}

/** An answer of the right kind that the recording backend does not give. For a void op there is but one. */
export function otherResult(op: OpName): unknown {
  return resultOf(op, 1);
}

function resultOf(op: OpName, which: 0 | 1): unknown {
  const { result } = describeOp(op);
  if (typeof result !== "string") return result[which];
  switch (result) {
    case "void":
      return undefined;
    case "boolean":
      return which === 1;
    case "number":
      return which;
    case "bigint":
      return BigInt(which);
    case "object":
      return which === 0 ? BACKEND_OBJECT : OTHER_OBJECT;
  }
}

export function fakeVm(id = 0): Vm {
  return { id, vcpus: [] } as unknown as Vm;
}

export function fakeVcpu(vm: Vm, id = 0): Vcpu {
  return { id, vm } as unknown as Vcpu;
}

/** Arguments as the labels say, marked so that a change is seen. */
export function argsFor(op: OpName, vcpu: Vcpu): unknown[] {
  return describeOp(op).args.map((label) => {
    if (label === "vcpu") return vcpu;
    if (label === "vm") return vcpu.vm;
    if (label === "pmc") return { type: "gp", idx: 0, vcpu, counter: 0n, eventsel: 0n } satisfies Pmc;
    return `${op}.${label}`;
  });
}

/** Call an op by its name. */
export function callOp(calls: OpCaller, op: OpName, args: readonly unknown[]): unknown {
  const [table, member] = op.startsWith("pmu_ops.") ? [calls.pmu_ops, op.slice(8)] : [calls, op];
  const fn = (table as unknown as Record<string, ((...a: readonly unknown[]) => unknown) | undefined>)[member];
  if (fn === undefined) throw new Error(`${op} is absent`);
  return fn(...args);
}
