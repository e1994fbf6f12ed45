import type { ExecutionEnvironment } from "../environment.js";
import { slot } from "../state/layout.js";
import { instructionPointerBits, type DecodedInstruction } from "../decode/instruction.js";
import { liftInstruction, unpackSystem, type LiftedBlock } from "../lift/block.js";
import type { CodeMode } from "../lift/mode.js";
import { runSystemInstruction } from "../system/handlers.js";
import { uopDefinition } from "../uops/table.js";
import { StateValues } from "./values.js";

const RIP = slot("rip");
const CURRENT_RIP = slot("currentRip");
const NEXT_RIP = slot("nextRip");

class BlockValues extends StateValues {
  /** Index of the micro-operation that is next. */
  next = 0;

  constructor(
    machine: ExecutionEnvironment,
    private readonly block: LiftedBlock,
  ) {
    super(machine);
  }

  override skip(count: number): void {
    this.next += count;
  }

  override system(): void {
    const { state } = this.machine;
    const { handler, length } = unpackSystem(this.uop.imm);
    const instruction = this.block.instructions[0]?.instruction;
    if (instruction === undefined) throw new RangeError("a system instruction needs its decoded form");
    const rip = state.get64(RIP);
    const { bitness } = this.block.mode;
    state.set64(CURRENT_RIP, rip);
    state.set64(NEXT_RIP, BigInt.asUintN(instructionPointerBits(bitness), rip + BigInt(length)));
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
export function evaluate(block: LiftedBlock, machine: ExecutionEnvironment): void {
  if (block.instructions.length > 1) throw new RangeError("the evaluator executes one instruction at a time");
  const { state } = machine;
  state.checkpoint();
  const values = new BlockValues(machine, block);
  try {
    while (values.next < block.uops.length) {
      const uop = block.uops[values.next++];
      if (uop === undefined) break;
      values.run(uop);
      if (uopDefinition(uop.op).ends === true) break;
    }
  } catch (error) {
    // A system instruction changes nothing before it throws, or has reason to: it is written over the machine itself.
    if (!block.system) state.rollBack();
    throw error;
  }
}

/**
 * Lift one instruction and execute it. State fields `rip`, `currentRip` and `nextRip` are set by the caller; the offset
 * of the instruction to go on with is left in `nextRip`, and `rip` stays.
 */
export function executeInstruction(
  machine: ExecutionEnvironment,
  instruction: DecodedInstruction,
  mode: CodeMode,
): void {
  const { state } = machine;
  const rip = state.get64(RIP);
  evaluate(liftInstruction(instruction, mode), machine);
  state.set64(NEXT_RIP, state.get64(RIP));
  state.set64(RIP, rip);
}
