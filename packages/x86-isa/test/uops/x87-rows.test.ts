import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CpuState,
  decodeUop,
  encodeFlags,
  encodeUop,
  ENGINE_FIELD,
  generateSingle,
  GuestException,
  LEAVE,
  slot,
  STATE_BYTES,
  StateValues,
  uopNamed,
  uopNumber,
  X87_NUMBERS,
  type AccessSize,
  type ExecutionEnvironment,
  type Uop,
  type UopDefinition,
} from "../../src/index.js";
import { X87_ROWS } from "../../src/uops/x87/rows.js";

const LAYOUT = { state: 0, engine: 0x4000, lookup: 0, lookupEntries: 16, tlbEntries: 16 } as const;
const UOP = 0x5000;
const TLB = 0x6000;
/** The guest's memory: linear address and place in the WebAssembly memory are the same. */
const DATA = 0x8000;
const PAGE = 0x1000;
const ADDRESS = slot("t0");

interface Outcome {
  readonly raised: number | undefined;
  readonly state: Uint8Array;
  readonly data: Uint8Array;
}

/** Compared byte by byte first: the test's own comparison takes far longer over thousands of them. */
function isSame(one: Outcome, other: Outcome): boolean {
  const same = (a: Uint8Array, b: Uint8Array): boolean => a.every((byte, i) => byte === b[i]);
  return one.raised === other.raised && same(one.state, other.state) && same(one.data, other.data);
}

/** A row over a WebAssembly memory that holds state, TLB and a page of data. */
class Harness {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly state: CpuState;
  /** How often the bigint meaning was asked for. */
  evaluations = 0;
  readonly #run: (pc: number) => number;
  readonly #machine: ExecutionEnvironment;
  #thrown: unknown;

  constructor(readonly row: UopDefinition) {
    const memory = new WebAssembly.Memory({ initial: 1 });
    this.bytes = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.state = new CpuState(memory.buffer, 0);
    this.#machine = {
      state: this.state,
      load: (linear: bigint, size: AccessSize) => this.#load(linear, size),
      store: (linear: bigint, size: AccessSize, value: bigint) => this.#store(linear, size, value),
      probe: (linear: bigint, size: number) => this.#place(linear, size),
    } as unknown as ExecutionEnvironment;
    const engine = LAYOUT.engine;
    const host = (act: () => unknown): number => {
      try {
        act();
        return 0;
      } catch (error) {
        this.#thrown = error;
        return 1;
      }
    };
    const linear = (): bigint => this.view.getBigUint64(engine + ENGINE_FIELD.linear, true);
    const instance = new WebAssembly.Instance(new WebAssembly.Module(generateSingle(row, LAYOUT)), {
      host: {
        memory,
        load: (_: number, size: number) =>
          host(() => {
            const value = this.#load(linear(), (size & 0xff) as AccessSize);
            this.view.setBigUint64(engine + ENGINE_FIELD.value, value, true);
          }),
        store: (_: number, size: number) =>
          host(() => {
            this.#store(linear(), size as AccessSize, this.view.getBigUint64(engine + ENGINE_FIELD.value, true));
          }),
        evaluate: (pc: number) => host(() => this.#evaluate(decodeUop(this.view, pc))),
      },
    });
    this.#run = instance.exports["run"] as (pc: number) => number;
    for (const array of [ENGINE_FIELD.readTlb, ENGINE_FIELD.writeTlb]) {
      this.view.setUint32(engine + array, TLB, true);
    }
  }

  #place(linear: bigint, size: number): number {
    if (linear < BigInt(DATA) || linear + BigInt(size) > BigInt(DATA + PAGE)) throw new GuestException(14, 0, linear);
    return Number(linear);
  }
  #load(linear: bigint, size: AccessSize): bigint {
    const at = this.#place(linear, size);
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.view.getUint8(at + i));
    return value;
  }
  #store(linear: bigint, size: AccessSize, value: bigint): void {
    const at = this.#place(linear, size);
    for (let i = 0; i < size; i++) this.view.setUint8(at + i, Number((value >> BigInt(8 * i)) & 0xffn));
  }
  #evaluate(uop: Uop): void {
    this.evaluations++;
    const values = new StateValues(this.#machine);
    values.uop = uop;
    this.row.evaluate(values);
  }

  /** State and data, and what was raised; `hit`: the page is in the TLB. */
  outcome(uop: Uop, how: "wasm" | "bigint", hit: boolean): Outcome {
    this.view.setBigInt64(TLB + 8 * 16, hit ? BigInt(DATA) : -1n, true);
    this.view.setUint32(TLB + 8 * 16 + 8, DATA, true);
    let raised: number | undefined;
    const note = (error: unknown): void => {
      if (!(error instanceof GuestException)) throw error;
      raised = error.vector;
    };
    if (how === "bigint") {
      try {
        this.#evaluate(uop);
      } catch (error) {
        note(error);
      }
    } else {
      encodeUop(uop, this.view, UOP);
      const left = this.#run(UOP);
      if (left === LEAVE.RAISE) raised = this.view.getUint32(LAYOUT.engine + ENGINE_FIELD.fault, true) & 0xff;
      if (left === LEAVE.ACCESS) note(this.#thrown);
    }
    return { raised, state: this.bytes.slice(0, STATE_BYTES), data: this.bytes.slice(DATA, DATA + PAGE) };
  }
}

const extended = (head: number, significand: bigint): bigint => (BigInt(head) << 64n) | significand;
const INTEGER = 1n << 63n;

const significand = fc.oneof(
  fc.bigInt(0n, INTEGER - 1n).map((m) => m | INTEGER),
  fc.integer({ min: 0, max: 1000 }).map((n) => INTEGER | (BigInt(n) << 53n)),
  fc.constantFrom(INTEGER, 2n * INTEGER - 1n, INTEGER | 0x400n, INTEGER | 0xc00n, INTEGER | (1n << 39n)),
);
const sign = fc.constantFrom(0, 0x8000);
const value80 = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.integer({ min: 16_375, max: 16_450 }), sign, significand) },
  { weight: 1, arbitrary: fc.tuple(fc.integer({ min: 1, max: 0x7ffe }), sign, significand) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom(0, 1, 0x3fff, 0x7fff), sign, fc.bigInt(0n, 2n * INTEGER - 1n)) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom(0), sign, fc.constantFrom(0n)) },
).map(([exponent, bit, m]) => extended(exponent | bit, m)); // prettier-ignore

const scratch = new DataView(new ArrayBuffer(8));
const data = fc.oneof(
  fc.double({ noNaN: true, min: -1e9, max: 1e9 }).map((x) => (scratch.setFloat64(0, x), scratch.getBigUint64(0))),
  fc.float({ noNaN: true, min: -1e6, max: 1e6 }).map((x) => (scratch.setFloat32(0, x), BigInt(scratch.getUint32(0)))),
  fc.integer({ min: -1000, max: 1000 }).map((x) => BigInt.asUintN(64, BigInt(x))),
  fc.bigInt(0n, (1n << 64n) - 1n),
  fc.constantFrom(0n, 1n << 63n, 1n << 31n, 1n, 0x7ff0_0000_0000_0000n, 0x7fef_ffff_ffff_ffffn, 0x7f80_0000n),
);
const control = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(0x37f, 0x77f, 0xb7f, 0xf7f) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xf7f }).map((bits) => (bits & 0xf3f) | 0x40) },
);

const start = fc.record({
  control,
  status: fc.integer({ min: 0, max: 0x7fff }),
  tags: fc.oneof(fc.constant(0xff), fc.integer({ min: 0, max: 0xff })),
  registers: fc.array(value80, { minLength: 8, maxLength: 8 }),
  data,
  offset: fc.constantFrom(0x100n, 0xff8n, 0xffcn),
  n: fc.integer({ min: 0, max: 0x7f }),
  condition: fc.constantFrom(0n, 1n),
  hit: fc.boolean(),
});

interface Start {
  readonly control: number;
  readonly status: number;
  readonly tags: number;
  readonly registers: readonly bigint[];
  readonly data: bigint;
  readonly offset: bigint;
  readonly n: number;
  readonly condition: bigint;
}

function setUp(h: Harness, given: Start): Uop {
  const { state, row } = h;
  h.bytes.fill(0, 0, STATE_BYTES);
  h.bytes.fill(0x5a, DATA, DATA + PAGE);
  const fcw = given.control;
  state.view.setUint16(slot("fcw"), fcw, true);
  // Nothing is pending, but for what the flags and masks say.
  const pending = (given.status & ~fcw & 0x3f) !== 0;
  state.view.setUint16(slot("fsw"), (given.status & ~0x80) | (pending ? 0x8080 : 0), true);
  state.view.setUint16(slot("ftw"), given.tags, true);
  for (const n of X87_NUMBERS) {
    const value = given.registers[n] ?? 0n;
    state.set64(slot(`st${n}`), BigInt.asUintN(64, value));
    state.set64(slot(`st${n}`) + 8, value >> 64n);
  }
  state.set64(slot("rip"), 0x40_0000n);
  const { flagResult, flagAux } = encodeFlags(0x8d5n);
  state.set64(slot("flagResult"), flagResult);
  state.set64(slot("flagAux"), flagAux);
  const address = BigInt(DATA) + given.offset;
  state.set64(ADDRESS, row.memory === true ? address : given.condition);
  if (given.offset === 0x100n) h.view.setBigUint64(Number(address), given.data, true);
  const small = row.name === "fldk" ? given.n % 7 : row.name === "fdecstp" ? 0 : given.n;
  return { op: uopNumber(uopNamed(row.name)), d: 0, a: ADDRESS, b: limit(row.name, small), imm: 0x23n << 34n };
}

/** The small constant as the lifter makes it. */
function limit(name: string, n: number): number {
  if (/^(fld|fxch|fcmov|fstn)st$/.test(name)) return n & 7;
  if (/^(fst|fre)|^ffree/.test(name))
    return name === "fstst" || name === "ffree" ? n & 15 : n & (name.startsWith("fstm") ? 1 : 3);
  if (/^fcom[mi]\d/.test(name)) return n & 1;
  if (/^fcom/.test(name)) return (n & 0x27) | (Math.min((n >> 3) & 3, 2) << 3);
  if (/env$|^fnsave|^frstor/.test(name)) return n & 3;
  return n;
}

describe("every x87 row", () => {
  it.each(X87_ROWS.map((row) => [row.name, row] as const))(
    "%s does the same in WebAssembly and in bigint",
    (_, row) => {
      const quick = new Harness(row);
      const reference = new Harness(row);
      const property = fc.property(start, (given) => {
        const expected = reference.outcome(setUp(reference, given), "bigint", false);
        const actual = quick.outcome(setUp(quick, given), "wasm", given.hit);
        if (!isSame(actual, expected)) expect(actual).toEqual(expected);
      });
      fc.assert(property, { numRuns: 150, seed: 87 });
    },
  );
});

describe("the quick way", () => {
  const plain = {
    control: 0x37f,
    status: 0,
    tags: 0x7f,
    registers: Array.from({ length: 8 }, (_, i) => extended(0x3fff + i, INTEGER | (BigInt(i) << 50n))),
    data: 0x3ff8_0000_0000_0000n,
    offset: 0x100n,
    n: 1,
    condition: 1n,
  };
  const rows = [
    "fldm64", "fldi32", "fldm80", "fldst", "fstm64", "fstm80", "fsti32", "fstst", "fxchst", "fcmovst", "faddm64", "fsubrm64",
    "fmulm64", "fdivm64", "faddst", "fmulst", "fdivrst", "fcomm64", "fcomst", "fcomist", "fchs", "fabs", "fsqrt", "ftst", "fwait",
  ]; // prettier-ignore

  it.each(rows)("%s needs no bigint for common values", (name) => {
    const row = X87_ROWS.find((candidate) => candidate.name === name);
    if (row === undefined) throw new Error(name);
    const h = new Harness(row);
    h.outcome(setUp(h, plain), "wasm", true);
    expect(h.evaluations).toBe(0);
  });
});
