import type { Bitness } from "../../src/index.js";
import { CASES_PER_FORM, generateCase } from "./cases.js";
import { listForms, type Exclusion, type Form } from "./forms.js";
import type { Case } from "./layout.js";

/** All forms of one code size with their cases, in the order of the vectors. */
export interface Suite {
  readonly bitness: Bitness;
  readonly forms: readonly Form[];
  readonly excluded: readonly Exclusion[];
  /** `CASES_PER_FORM` for each form. */
  readonly cases: readonly Case[];
}

export function suite(bitness: Bitness): Suite {
  const { forms, excluded } = listForms(bitness);
  const cases = forms.flatMap((form) => Array.from({ length: CASES_PER_FORM }, (_, n) => generateCase(form, n)));
  return { bitness, forms, excluded, cases };
}

export const vectorFile = (bitness: Bitness): URL => new URL(`./integer-${bitness}.vectors.br`, import.meta.url);
