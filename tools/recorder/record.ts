import { writeFileSync } from "node:fs";
import { CASES_PER_FORM, generateCase } from "../../packages/x86-isa/test/vectors/cases.js";
import { compared } from "../../packages/x86-isa/test/vectors/compare.js";
import {
  digestOutcome,
  encodeDigests,
  FormDigester,
  type FormDigest,
} from "../../packages/x86-isa/test/vectors/digests.js";
import type { Origin } from "../../packages/x86-isa/test/vectors/program.js";
import { suiteOf, SUITES, type Suite } from "../../packages/x86-isa/test/vectors/suite.js";
import { NativeProcessor, nativeObstacle } from "./native.js";

const FORMS_PER_BATCH = 40;

function recordSuite(native: NativeProcessor, suite: Suite): string {
  const { bitness, forms } = suite;
  const digests: FormDigest[] = [];
  let origin: Origin | undefined;
  let faults = 0;
  for (let first = 0; first < forms.length; first += FORMS_PER_BATCH) {
    const batch = forms
      .slice(first, first + FORMS_PER_BATCH)
      .flatMap((form) => Array.from({ length: CASES_PER_FORM }, (_, n) => ({ form, c: generateCase(form, n) })));
    const result = native.run(
      bitness,
      "stepped",
      batch.map(({ c }) => c),
    );
    origin = result.origin;
    let digester = new FormDigester();
    batch.forEach(({ form, c }, n) => {
      const outcome = result.outcomes[n];
      if (outcome === undefined) throw new RangeError("an outcome is missing");
      if (outcome.vector !== undefined) faults++;
      digester.add(digestOutcome(compared(form, c, outcome)));
      if ((n + 1) % CASES_PER_FORM !== 0) return;
      digests.push(digester.finish());
      digester = new FormDigester();
    });
  }
  if (origin === undefined) throw new RangeError("a suite without forms");
  const file = encodeDigests(bitness, origin, forms, digests);
  writeFileSync(suite.file, file);
  return (
    `${suite.set}, ${bitness}-bit code: ${forms.length} forms, ${forms.length * CASES_PER_FORM} cases, ` +
    `${faults} faults, ${file.length} bytes, on ${origin.processor}`
  );
}

/** Run every form on this processor, and write the digests that the tests of x86-isa and x86-cpu read: of all suites, or those named. */
export function record(print: (line: string) => void, chosen = /./): void {
  const obstacle = nativeObstacle();
  if (obstacle !== undefined) throw new Error(obstacle);
  const native = new NativeProcessor();
  try {
    for (const [set, bitness] of SUITES)
      if (chosen.test(`${set}-${bitness}`)) print(recordSuite(native, suiteOf(set, bitness)));
  } finally {
    native.close();
  }
}
