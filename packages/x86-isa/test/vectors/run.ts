import { readFileSync } from "node:fs";
import { decode, evaluate, GuestException, liftInstruction, slot, type Bitness } from "../../src/index.js";
import { CASES_PER_FORM, generateCase } from "./cases.js";
import { caseName, compared } from "./compare.js";
import { decodeDigests, digestOutcome, FormDigester } from "./digests.js";
import type { Form } from "./forms.js";
import type { Case } from "./layout.js";
import { outcomeOf, VectorEnvironment, vectorMode } from "./environment.js";
import { startIp, type Origin, type Outcome } from "./program.js";
import type { Suite } from "./suite.js";

const RIP = slot("rip");

/** Executes a case; what it ends with is compared with the recording. */
export type Executor = (c: Case, bitness: Bitness, origin: Origin) => Outcome;

/** An instruction of the suite that has not been written. */
export class NotLifted extends Error {}

/** The bigint evaluator. */
export function evaluatorExecutor(): Executor {
  const machine = new VectorEnvironment();
  return (c, bitness, origin) => {
    machine.setUp(c, bitness, origin);
    const decoded = decode(c.bytes, startIp(bitness), bitness);
    if (decoded.kind !== "instruction") return outcomeOf(machine.state, machine.memory, c, bitness, 6);
    const block = liftInstruction(decoded.instruction, vectorMode(bitness));
    if (block.missing !== undefined) throw new NotLifted(block.missing);
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

/** A case that ended otherwise than recorded; of a form without `index` only the digest of all its cases shows it. */
export interface Mismatch {
  readonly form: Form;
  readonly index: number | undefined;
  /** The case, and the executor's own error if there was one. */
  readonly text: string;
}

export interface Report {
  readonly origin: Origin;
  readonly cases: number;
  readonly mismatches: readonly Mismatch[];
  /** Forms that the executor does not have. */
  readonly notLifted: readonly Form[];
}

/** Run a form's first cases and compare their digests; those of all cases together if none is left out. */
function runForm(
  form: Form,
  recorded: { readonly whole: number; readonly cases: Uint8Array },
  origin: Origin,
  execute: Executor,
  cases: number,
): Mismatch[] | "not lifted" {
  const found: Mismatch[] = [];
  const digester = new FormDigester();
  for (let index = 0; index < cases; index++) {
    const c = generateCase(form, index);
    let note = "";
    try {
      const outcome = compared(form, c, execute(c, form.bitness, origin));
      if (digester.add(digestOutcome(outcome)) === recorded.cases[index]) continue;
    } catch (error) {
      if (error instanceof NotLifted) return "not lifted";
      digester.add(0);
      note = `: ${String(error)}`;
    }
    found.push({ form, index, text: `${caseName(form, c)} case ${index}${note}` });
  }
  if (found.length === 0 && cases === CASES_PER_FORM && digester.finish().whole !== recorded.whole)
    found.push({
      form,
      index: undefined,
      text: `${form.id} ${form.bitness}-bit: a case that its digest does not tell`,
    });
  return found;
}

/**
 * Run the vectors of a suite.
 *
 * @param casesPerForm how many of each form's cases, from the first on
 * @param choose which forms
 */
export function runVectors(
  suite: Suite,
  execute: Executor,
  casesPerForm = CASES_PER_FORM,
  choose: (form: Form) => boolean = () => true,
): Report {
  const { bitness, forms, file } = suite;
  const { origin, digests } = decodeDigests(readFileSync(file), bitness, forms);
  const mismatches: Mismatch[] = [];
  const notLifted: Form[] = [];
  let cases = 0;
  forms.forEach((form, n) => {
    const digest = digests[n];
    if (digest === undefined) throw new RangeError("more forms than digests");
    if (!choose(form)) return;
    const found = runForm(form, digest, origin, execute, casesPerForm);
    if (found === "not lifted") {
      notLifted.push(form);
      return;
    }
    cases += casesPerForm;
    mismatches.push(...found);
  });
  return { origin, cases, mismatches, notLifted };
}
