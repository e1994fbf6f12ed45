import type { Bitness } from "../../src/index.js";
import { listForms, type Exclusion, type Form, type FormSet } from "./forms.js";

/** The forms of one set in code of one size, in the order of their vectors. */
export interface Suite {
  readonly set: FormSet;
  readonly bitness: Bitness;
  readonly forms: readonly Form[];
  readonly excluded: readonly Exclusion[];
  /** The file of recorded digests. */
  readonly file: URL;
}

/** What is recorded. Vector instructions in 16-bit code differ from 32-bit code in nothing but addresses. */
export const SUITES: readonly (readonly [set: FormSet, bitness: Bitness])[] = [
  ["integer", 64],
  ["integer", 32],
  ["integer", 16],
  ["vector", 64],
  ["vector", 32],
];

const suites = new Map<string, Suite>();

export function suiteOf(set: FormSet, bitness: Bitness): Suite {
  const name = `${set}-${bitness}`;
  let suite = suites.get(name);
  if (suite === undefined) {
    suite = { set, bitness, ...listForms(set, bitness), file: new URL(`./${name}.digests`, import.meta.url) };
    suites.set(name, suite);
  }
  return suite;
}
