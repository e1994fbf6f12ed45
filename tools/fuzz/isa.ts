import type { Bitness } from "../../packages/x86-isa/src/index.js";
import { Decoder, Formatter, FormatterSyntax, DecoderOptions } from "../../packages/x86-isa/src/decode/iced.js";
import { comparedState, describeFx, differences, hexBytes } from "../../packages/x86-isa/test/vectors/compare.js";
import { WINDOW, type Case } from "../../packages/x86-isa/test/vectors/layout.js";
import { startIp, type Origin, type Outcome } from "../../packages/x86-isa/test/vectors/program.js";
import { NativeProcessor, nativeObstacle } from "../recorder/native.js";
import { evaluator, interpreter, type SequenceExecutor } from "./executors.js";
import { assemble, generateSequence, makePool, type Pool, type Sequence } from "./sequence.js";
import { shrink } from "./shrink.js";

export interface FuzzOptions {
  readonly seed: number;
  /** Sequences. */
  readonly cases: number;
  /** The first sequence's number: to run one again that differed. */
  readonly first?: number;
  /** One in so many sequences runs on the evaluator too. */
  readonly evaluatorShare?: number;
  /** Stop after so many that differ. */
  readonly mismatches?: number;
  /** Who is compared with the processor, by name. */
  readonly executors?: (bitness: 64 | 32) => Executors;
}

export interface FuzzResult {
  readonly sequences: number;
  readonly instructions: number;
  readonly faults: number;
  readonly mismatches: number;
}

type Print = (line: string) => void;

const BATCH = 2000;
const BITNESSES = [64, 32] as const;

/** Every third sequence is of 32-bit code. */
const bitnessOf = (index: number): 64 | 32 => (index % 3 === 2 ? 32 : 64);

/** Executors by name, made once for each code size. */
export type Executors = ReadonlyMap<string, SequenceExecutor>;

const ownExecutors = (bitness: Bitness): Executors =>
  new Map([
    ["interpreter", interpreter(bitness)],
    ["evaluator", evaluator(bitness)],
  ]);

const compare = (bitness: Bitness, c: Case, actual: Outcome, expected: Outcome): string[] =>
  differences(c, comparedState(bitness, c, actual, 0), comparedState(bitness, c, expected, 0));

function disassemble(c: Case, bitness: Bitness): string[] {
  const decoder = new Decoder(bitness, c.bytes, DecoderOptions.None);
  const formatter = new Formatter(FormatterSyntax.Nasm);
  decoder.ip = startIp(bitness);
  const lines: string[] = [];
  while (decoder.canDecode) {
    const at = decoder.position;
    const instruction = decoder.decode();
    const bytes = hexBytes(c.bytes.subarray(at, decoder.position));
    lines.push(`${instruction.ip.toString(16)}  ${formatter.format(instruction).padEnd(44)} ; ${bytes}`);
    instruction.free();
  }
  formatter.free();
  decoder.free();
  return lines;
}

function describeStart(c: Case, bitness: Bitness): string[] {
  const gprs = c.gprs.slice(0, bitness === 64 ? 16 : 8).map((value, n) => `r${n} 0x${value.toString(16)}`);
  const lines = [`flags 0x${c.flags.toString(16)}  ${gprs.join("  ")}`];
  const fx = describeFx(c.fx);
  for (let n = 0; n < fx.length; n += 4) lines.push(fx.slice(n, n + 4).join("  "));
  for (let at = 0; at < c.memory.length; at += 32)
    lines.push(`${(WINDOW + at).toString(16)}  ${hexBytes(c.memory.subarray(at, at + 32))}`);
  return lines;
}

/** Finds the shortest sequence that still differs, and prints it with its start and both ends. */
function explain(
  sequence: Sequence,
  name: string,
  execute: SequenceExecutor,
  native: NativeProcessor,
  title: string,
  print: Print,
): void {
  const { bitness } = sequence;
  const items = shrink(sequence.items, (candidates) => {
    const cases = candidates.map((candidate) => assemble({ ...sequence, items: candidate }));
    const { origin, outcomes } = native.run(bitness, "sequence", cases);
    return candidates.find((_, n) => {
      const [c, expected] = [cases[n], outcomes[n]];
      if (c === undefined || expected === undefined) return false;
      return compare(bitness, c, execute(c, origin).outcome, expected).length > 0;
    });
  });
  const c = assemble({ ...sequence, items });
  const { origin, outcomes } = native.run(bitness, "sequence", [c]);
  const [expected] = outcomes;
  if (expected === undefined) throw new RangeError("the processor has no outcome");
  const differs = compare(bitness, c, execute(c, origin).outcome, expected);
  print(`MISMATCH ${title}: ${name}, ${bitness}-bit code, ${items.length} of ${sequence.items.length} instructions`);
  for (const line of disassemble(c, bitness)) print(`    ${line}`);
  print("  starting from");
  for (const line of describeStart(c, bitness)) print(`    ${line}`);
  print(`  ${name} instead of ${origin.processor}`);
  for (const line of differs) print(`    ${line}`);
}

/** Runs batches of sequences on this processor and on the executors. */
class Fuzzer {
  readonly #native = new NativeProcessor();
  readonly #pools = new Map<64 | 32, Pool>();
  readonly #executors = new Map<64 | 32, Executors>();
  instructions = 0;
  faults = 0;
  mismatches = 0;
  sequences = 0;
  processor = "";

  constructor(
    private readonly options: FuzzOptions,
    private readonly print: Print,
  ) {
    for (const bitness of BITNESSES) {
      const pool = makePool(bitness);
      this.#pools.set(bitness, pool);
      this.#executors.set(bitness, (options.executors ?? ownExecutors)(bitness));
      const missing = pool.notLifted.length === 0 ? "" : `, ${pool.notLifted.length} not written yet are left out`;
      print(`${bitness}-bit code: sequences of ${pool.size} forms${missing}`);
    }
  }

  generate(index: number): Sequence {
    const pool = this.#pools.get(bitnessOf(index));
    if (pool === undefined) throw new RangeError("no forms for a code size");
    return generateSequence(pool, this.options.seed, index);
  }

  /** @returns false once there are mismatches enough */
  run(indices: readonly number[]): boolean {
    for (const bitness of BITNESSES) {
      const chosen = indices.filter((index) => bitnessOf(index) === bitness);
      if (chosen.length === 0) continue;
      const sequences = chosen.map((index) => this.generate(index));
      const cases = sequences.map((sequence) => assemble(sequence));
      const { origin, outcomes } = this.#native.run(bitness, "sequence", cases);
      this.processor = origin.processor;
      for (const [n, sequence] of sequences.entries()) {
        const [c, expected, index] = [cases[n], outcomes[n], chosen[n]];
        if (c === undefined || expected === undefined || index === undefined) continue;
        this.#judge(sequence, c, expected, index, origin);
        if (this.mismatches >= (this.options.mismatches ?? 5)) return false;
      }
    }
    return true;
  }

  #judge(sequence: Sequence, c: Case, expected: Outcome, index: number, origin: Origin): void {
    const { bitness } = sequence;
    const { evaluatorShare = 8, seed } = this.options;
    this.sequences++;
    if (expected.vector !== undefined) this.faults++;
    for (const [name, execute] of this.#executors.get(bitness === 64 ? 64 : 32) ?? []) {
      if (name === "evaluator" && index % evaluatorShare !== 0) continue;
      const { outcome, instructions } = execute(c, origin);
      if (name !== "evaluator") this.instructions += instructions;
      if (compare(bitness, c, outcome, expected).length === 0) continue;
      this.mismatches++;
      explain(sequence, name, execute, this.#native, `--seed ${seed} --first ${index} --cases 1`, this.print);
      return;
    }
  }

  close(): void {
    this.#native.close();
  }
}

/** Execute random sequences of instructions on this processor, the interpreter and, a share of them, the evaluator. */
export function fuzzIsa(options: FuzzOptions, print: Print): FuzzResult {
  const obstacle = nativeObstacle();
  if (obstacle !== undefined) throw new Error(obstacle);
  const fuzzer = new Fuzzer(options, print);
  try {
    const { first = 0, cases } = options;
    for (let at = first; at < first + cases; at += BATCH) {
      const indices = Array.from({ length: Math.min(BATCH, first + cases - at) }, (_, n) => at + n);
      if (!fuzzer.run(indices)) break;
    }
    const { sequences, instructions, faults, mismatches, processor } = fuzzer;
    print(
      `seed ${options.seed}: ${sequences} sequences, ${instructions} instructions, ${faults} ended by a fault, ` +
        `${mismatches} mismatches with ${processor}`,
    );
    return { sequences, instructions, faults, mismatches };
  } finally {
    fuzzer.close();
  }
}
