import type { ExecutionEnvironment } from "../environment.js";
import { slot, type SlotName } from "../state/layout.js";
import type { Uop, UopValues } from "../uops/definition.js";
import { uopDefinition } from "../uops/table.js";

const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);

/**
 * The operands of a micro-operation in the bytes of the machine's state, for the bigint meaning of its row. It can run
 * one row by itself; what needs the block around it (skipping, system instructions) is the evaluator's.
 */
export class StateValues implements UopValues {
  uop: Uop = { op: 0, d: 0, a: 0, b: 0, imm: 0n };

  constructor(readonly machine: ExecutionEnvironment) {}

  /** Execute one micro-operation; a fault is thrown. */
  run(uop: Uop): void {
    this.uop = uop;
    uopDefinition(uop.op).evaluate(this);
  }

  a(): bigint {
    return this.machine.state.get64(this.uop.a);
  }
  b(): bigint {
    return this.machine.state.get64(this.uop.b);
  }
  d(): bigint {
    return this.machine.state.get64(this.uop.d);
  }
  imm(): bigint {
    return u64(this.uop.imm);
  }
  n(): number {
    return this.uop.b;
  }
  setD(value: bigint): void {
    this.machine.state.set64(this.uop.d, u64(value));
  }

  #vector(offset: number): bigint {
    const { state } = this.machine;
    return state.get64(offset) | (state.get64(offset + 8) << 64n);
  }
  va(): bigint {
    return this.#vector(this.uop.a);
  }
  vb(): bigint {
    return this.#vector(this.uop.b);
  }
  vd(): bigint {
    return this.#vector(this.uop.d);
  }
  setVD(value: bigint): void {
    this.machine.state.set64(this.uop.d, u64(value));
    this.machine.state.set64(this.uop.d + 8, u64(value >> 64n));
  }

  get(field: SlotName): bigint {
    return this.machine.state.get64(slot(field));
  }
  set(field: SlotName, value: bigint): void {
    this.machine.state.set64(slot(field), u64(value));
  }

  skip(_count: number): void {
    throw new RangeError("a row that skips others needs a block");
  }
  system(): void {
    throw new RangeError("a system instruction needs a block");
  }
}
