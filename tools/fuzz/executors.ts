import { VectorRig } from "../../packages/x86-cpu/test/engine/vector-rig.js";
import {
  decode,
  evaluate,
  GuestException,
  liftInstruction,
  slot,
  type Bitness,
} from "../../packages/x86-isa/src/index.js";
import type { Case } from "../../packages/x86-isa/test/vectors/layout.js";
import { outcomeOf, VectorEnvironment, vectorMode } from "../../packages/x86-isa/test/vectors/environment.js";
import { startIp, type Origin, type Outcome } from "../../packages/x86-isa/test/vectors/program.js";

const RIP = slot("rip");
/** More than any sequence can come to, its repeated string instructions included. */
const LIMIT = 20_000;
const UD = 6;

/** What a sequence ended with, and how many instructions it took. */
export interface Execution {
  readonly outcome: Outcome;
  readonly instructions: number;
}

export type SequenceExecutor = (c: Case, origin: Origin) => Execution;

/** Whole sequences in translated blocks. */
export function interpreter(bitness: Bitness): SequenceExecutor {
  const rig = new VectorRig(bitness);
  return (c, origin) => {
    rig.setUpSequence(c, origin);
    rig.executeSequence(LIMIT);
    return { outcome: rig.sequenceOutcome(c), instructions: rig.retiredCount };
  };
}

/** One instruction at a time. */
export function evaluator(bitness: Bitness): SequenceExecutor {
  const machine = new VectorEnvironment();
  const { state, memory } = machine;
  const mode = vectorMode(bitness);
  const start = startIp(bitness);
  return (c, origin) => {
    machine.setUp(c, bitness, origin, "sequence");
    const end = start + BigInt(c.bytes.length);
    let instructions = 0;
    let vector: number | undefined;
    for (; instructions < LIMIT; instructions++) {
      const rip = state.get64(RIP);
      if (rip === end) break;
      const decoded = decode(c.bytes.subarray(Number(rip - start)), rip, bitness);
      if (decoded.kind !== "instruction") {
        vector = UD;
        break;
      }
      try {
        evaluate(liftInstruction(decoded.instruction, mode), machine);
      } catch (error) {
        if (!(error instanceof GuestException)) throw error;
        vector = error.vector;
        break;
      }
    }
    return { outcome: outcomeOf(state, memory, c, bitness, vector), instructions };
  };
}
