import type { Machine } from "../machine.js";
import { slot } from "../state/layout.js";
import type { DecodedInstruction } from "../decode/instruction.js";
import { liftInstruction, unpackSystem, type LiftedBlock } from "../lift/block.js";
import type { CodeMode } from "../lift/mode.js";
import { runSystemInstruction } from "../system/handlers.js";
import type { Uop, UopValues } from "../uops/definition.js";
import { uopDefinition } from "../uops/table.js";

const RIP = slot("rip");
const CURRENT_RIP = slot("currentRip");
const NEXT_RIP = slot("nextRip");
/** General registers, RIP and the flags lie before the scratch slots. */
const RESTORED_BYTES = slot("t0");

const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);

class Values implements UopValues {
  uop: Uop = { op: 0, d: 0, a: 0, b: 0, imm: 0n };
  /** Index of the micro-operation that is next. */
  next = 0;

  constructor(
    readonly machine: Machine,
    private readonly block: LiftedBlock,
  ) {}

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

  private vector(offset: number): bigint {
    const { state } = this.machine;
    return state.get64(offset) | (state.get64(offset + 8) << 64n);
  }
  va(): bigint {
    return this.vector(this.uop.a);
  }
  vb(): bigint {
    return this.vector(this.uop.b);
  }
  vd(): bigint {
    return this.vector(this.uop.d);
  }
  setVD(value: bigint): void {
    this.machine.state.set64(this.uop.d, u64(value));
    this.machine.state.set64(this.uop.d + 8, u64(value >> 64n));
  }

  get(field: string): bigint {
    return this.machine.state.get64(slot(field));
  }
  set(field: string, value: bigint): void {
    this.machine.state.set64(slot(field), u64(value));
  }
  skip(count: number): void {
    this.next += count;
  }

  system(): void {
    const { state } = this.machine;
    const { handler, length } = unpackSystem(this.uop.imm);
    const instruction = this.block.instructions[0]?.instruction;
    if (instruction === undefined) throw new RangeError("a system instruction needs its decoded form");
    const rip = state.get64(RIP);
    const { bitness } = this.block.mode;
    state.set64(CURRENT_RIP, rip);
    state.set64(NEXT_RIP, BigInt.asUintN(bitness, rip + BigInt(length)));
    runSystemInstruction(this.machine, handler, instruction);
    state.set64(RIP, state.get64(NEXT_RIP));
  }
}

/**
 * Execute a block of one instruction with the bigint meanings of its micro-operations: the reference that the engines
 * are tested against. State field `rip` is that of the instruction, and afterwards that of the next.
 *
 * Whatever the machine throws (a fault, its own signal to leave) passes through. General registers, RIP and flags are
 * then as they were, so that the instruction can be restarted.
 */
export function evaluate(block: LiftedBlock, machine: Machine): void {
  if (block.instructions.length > 1) throw new RangeError("the evaluator executes one instruction at a time");
  const { state } = machine;
  const registers = new Uint8Array(state.buffer, state.base, RESTORED_BYTES);
  const before = registers.slice();
  const values = new Values(machine, block);
  try {
    while (values.next < block.uops.length) {
      const uop = block.uops[values.next++];
      if (uop === undefined) break;
      values.uop = uop;
      const row = uopDefinition(uop.op);
      row.evaluate(values);
      if (row.ends === true) break;
    }
  } catch (error) {
    // A system instruction changes nothing before it throws, or has reason to: it is written over the machine itself.
    if (!block.system) registers.set(before);
    throw error;
  }
}

/**
 * Lift one instruction and execute it. State fields `rip`, `currentRip` and `nextRip` are set by the caller; the offset
 * of the instruction to go on with is left in `nextRip`, and `rip` stays.
 */
export function executeInstruction(machine: Machine, instruction: DecodedInstruction, mode: CodeMode): void {
  const { state } = machine;
  const rip = state.get64(RIP);
  evaluate(liftInstruction(instruction, mode), machine);
  state.set64(NEXT_RIP, state.get64(RIP));
  state.set64(RIP, rip);
}
