import { readFileSync } from "node:fs";
import { decode, evaluate, GuestException, liftInstruction, slot, type Bitness } from "../../src/index.js";
import { CASES_PER_FORM } from "./cases.js";
import { difference } from "./compare.js";
import { decodeVectors, startIp, type Origin, type Outcome } from "./format.js";
import type { Case } from "./layout.js";
import { outcomeOf, VectorMachine, vectorMode } from "./machine.js";
import { suite, vectorFile, type Suite } from "./suite.js";

const RIP = slot("rip");

/** Executes a case; what it ends with is compared with the recording. */
export type Executor = (c: Case, bitness: Bitness, origin: Origin) => Outcome;

/** The bigint evaluator. */
export function evaluatorExecutor(): Executor {
  const machine = new VectorMachine();
  return (c, bitness, origin) => {
    machine.setUp(c, bitness, origin);
    const decoded = decode(c.bytes, startIp(bitness), bitness);
    if (decoded.kind !== "instruction") return outcomeOf(machine.state, machine.memory, c, bitness, 6);
    const block = liftInstruction(decoded.instruction, vectorMode(bitness));
    try {
      // A repeated string instruction is executed element by element, with RIP at itself in between.
      do evaluate(block, machine);
      while (machine.state.get64(RIP) === startIp(bitness));
    } catch (error) {
      if (!(error instanceof GuestException)) throw error;
      return outcomeOf(machine.state, machine.memory, c, bitness, error.vector);
    }
    return outcomeOf(machine.state, machine.memory, c, bitness, undefined);
  };
}

export interface Report {
  readonly suite: Suite;
  readonly origin: Origin;
  /** One line for each case that differs. */
  readonly mismatches: readonly string[];
  readonly failedForms: ReadonlySet<string>;
}

/** Run all vectors of one code size. */
export function runVectors(bitness: Bitness, execute: Executor): Report {
  const cases = suite(bitness);
  const { origin, outcomes } = decodeVectors(readFileSync(vectorFile(bitness)), bitness, cases.cases);
  const mismatches: string[] = [];
  const failedForms = new Set<string>();
  outcomes.forEach((expected, n) => {
    const c = cases.cases[n];
    const form = cases.forms[Math.floor(n / CASES_PER_FORM)];
    if (c === undefined || form === undefined) return;
    let line: string | undefined;
    try {
      line = difference(form, c, execute(c, bitness, origin), expected);
    } catch (error) {
      line = `${form.id}: ${String(error)}`;
    }
    if (line === undefined) return;
    mismatches.push(line);
    failedForms.add(form.id);
  });
  return { suite: cases, origin, mismatches, failedForms };
}
