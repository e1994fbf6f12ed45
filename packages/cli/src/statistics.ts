import { vmxExitName } from "@tapvisor/arch-vmx";
import { OP_NAMES, type Interceptor, type OpHandlers, type OpName, type VcpuExit } from "@tapvisor/kvm-core";
import { formatCall } from "./op-text.js";

/** How often each op was called, and each kind of exit was taken. */
export class Statistics {
  readonly #ops = new Map<OpName, number>();
  readonly #vmExits = new Map<string, number>();
  readonly #userExits = new Map<VcpuExit["reason"], number>();
  readonly #missing = new Map<string, number>();

  /** Counts an instruction that raised #UD because the processor does not have it; give it to the machine. */
  readonly noteMissing = (syntax: string): void => count(this.#missing, syntax);

  /** The interceptor that counts; attach it to the core. It observes and changes nothing. */
  readonly interceptor: Interceptor = {
    name: "statistics",
    // After all others: what they answer in the backend's place counts too.
    stage: 1000,
    ops: observeOps(OP_NAMES, (call) => {
      this.#ops.set(call.op, (this.#ops.get(call.op) ?? 0) + 1);
      if (call.op !== "handle_exit" || call.vcpu === undefined) return;
      if (this.backend === "vmx") count(this.#vmExits, vmxExitName(call.vcpu));
    }),
    hooks: { exitToUser: ({ exit }) => count(this.#userExits, exit.reason) },
  };

  /** @param backend name of the backend that the core took, once it is known */
  constructor(public backend = "vmx") {}

  /** VM exits by reason; exits to user space as `user:io` and the like. */
  get exits(): Readonly<Record<string, number>> {
    const user = [...this.#userExits].map(([reason, n]) => [`user:${reason}`, n] as const);
    return Object.fromEntries([...byCount(this.#vmExits), ...user.sort((a, b) => b[1] - a[1])]);
  }

  /** Instructions that raised #UD because the processor does not have them, by their syntax in the manual. */
  get missing(): Readonly<Record<string, number>> {
    return Object.fromEntries(byCount(this.#missing));
  }

  /** Op calls, the most frequent first; ops that were never called are left out. */
  get ops(): Readonly<Record<string, number>> {
    return Object.fromEntries(byCount(this.#ops));
  }
}

function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function byCount<K>(counts: ReadonlyMap<K, number>): [K, number][] {
  return [...counts].sort((a, b) => b[1] - a[1]);
}

type AnyCall = Parameters<typeof formatCall>[0];

/** Handlers that observe the outcome of every call of some ops. */
export function observeOps(names: readonly OpName[], observe: (call: AnyCall) => void): Interceptor["ops"] & object {
  const handlers: OpHandlers<OpName> = { observe: observe };
  return Object.fromEntries(names.map((name) => [name, handlers]));
}

/** An interceptor that prints every call of some ops, a line each. */
export function tracer(names: readonly OpName[], print: (line: string) => void): Interceptor {
  return { name: "trace", stage: 1000, ops: observeOps(names, (call) => print(formatCall(call))) };
}
