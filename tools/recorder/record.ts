import { readFileSync, writeFileSync } from "node:fs";
import { CASES_PER_FORM, generateCase } from "../../packages/x86-isa/test/vectors/cases.js";
import { compared } from "../../packages/x86-isa/test/vectors/compare.js";
import {
  decodeDigests,
  digestOutcome,
  encodeDigests,
  FormDigester,
  type FormDigest,
} from "../../packages/x86-isa/test/vectors/digests.js";
import type { Form } from "../../packages/x86-isa/test/vectors/forms.js";
import type { Origin } from "../../packages/x86-isa/test/vectors/program.js";
import type { Suite } from "../../packages/x86-isa/test/vectors/suite.js";
import { choose, suiteName, type Choice, type Filter } from "./choice.js";
import { NativeProcessor, nativeObstacle } from "./native.js";

const FORMS_PER_BATCH = 40;

type Print = (line: string) => void;

/** Who executes the cases. */
export type Processor = Pick<NativeProcessor, "run">;

interface Recording {
  readonly origin: Origin;
  readonly digests: ReadonlyMap<Form, FormDigest>;
  readonly faults: number;
}

function recordForms(processor: Processor, { suite, forms }: Choice): Recording {
  const digests = new Map<Form, FormDigest>();
  let origin: Origin | undefined;
  let faults = 0;
  for (let first = 0; first < forms.length; first += FORMS_PER_BATCH) {
    const batch = forms
      .slice(first, first + FORMS_PER_BATCH)
      .flatMap((form) => Array.from({ length: CASES_PER_FORM }, (_, n) => ({ form, c: generateCase(form, n) })));
    const result = processor.run(
      suite.bitness,
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
      digests.set(form, digester.finish());
      digester = new FormDigester();
    });
  }
  if (origin === undefined) throw new RangeError("a suite without forms");
  return { origin, digests, faults };
}

const describeOrigin = ({ processor, selectors }: Origin): string => `${processor}, selectors ${selectors.join(" ")}`;

/** The digests of all forms of a suite: the new ones, and those that its file has of the others. */
function merged(suite: Suite, file: URL, { origin, digests }: Recording): readonly FormDigest[] {
  const whole = digests.size === suite.forms.length;
  const kept = whole ? undefined : decodeDigests(readFileSync(file), suite.bitness, suite.forms);
  if (kept !== undefined && describeOrigin(kept.origin) !== describeOrigin(origin))
    throw new Error(
      `${suiteName(suite)} was recorded on ${describeOrigin(kept.origin)}; this is ${describeOrigin(origin)}: ` +
        "a file names one processor, so record all of its forms",
    );
  return suite.forms.map((form, n) => {
    const digest = digests.get(form) ?? kept?.digests[n];
    if (digest === undefined) throw new RangeError(`${form.id} is not recorded`);
    return digest;
  });
}

/**
 * Run forms on a processor and write their digests. Of a suite that is not chosen as a whole, the digests of all other
 * forms stay as they are.
 *
 * @param fileOf where the digests of a suite are
 * @throws if a suite of which a part is chosen was recorded on another processor, or by another generator of cases
 */
export function recordOn(
  processor: Processor,
  choices: readonly Choice[],
  print: Print,
  fileOf: (suite: Suite) => URL = ({ file }) => file,
): void {
  for (const choice of choices) {
    const { suite, forms } = choice;
    const recording = recordForms(processor, choice);
    const { origin, faults } = recording;
    const bytes = encodeDigests(suite.bitness, origin, suite.forms, merged(suite, fileOf(suite), recording));
    writeFileSync(fileOf(suite), bytes);
    print(
      `${suite.set}, ${suite.bitness}-bit code: ${forms.length} of ${suite.forms.length} forms, ` +
        `${forms.length * CASES_PER_FORM} cases, ${faults} faults, ${bytes.length} bytes, on ${origin.processor}`,
    );
  }
}

/**
 * Run forms on this processor, and write the digests that the tests of x86-isa and x86-cpu read.
 *
 * @throws FilterError if the filter matches nothing
 */
export function record(filter: Filter, print: Print): void {
  const choices = choose(filter);
  const obstacle = nativeObstacle();
  if (obstacle !== undefined) throw new Error(obstacle);
  const native = new NativeProcessor();
  try {
    recordOn(native, choices, print);
  } finally {
    native.close();
  }
}
