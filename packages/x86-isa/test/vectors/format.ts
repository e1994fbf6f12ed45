import { brotliCompressSync, brotliDecompressSync, constants } from "node:zlib";
import type { Bitness } from "../../src/index.js";
import { CODE, CODE_OFFSET, DATA_START, WINDOW, WINDOW_BYTES, type Case } from "./layout.js";

/** What one execution ended with. */
export interface Outcome {
  /** Vector of the exception that it raised; undefined if it completed. */
  readonly vector: number | undefined;
  /** CF, PF, AF, ZF, SF, OF and DF. */
  readonly flags: number;
  readonly ip: bigint;
  readonly gprs: readonly bigint[];
  /** Linear address and new value of each byte that changed, in order of address. */
  readonly memory: readonly (readonly [address: number, value: number])[];
}

/** Who recorded, and the selectors that user code had there (ES, CS, SS, DS, FS, GS). */
export interface Origin {
  readonly processor: string;
  readonly selectors: readonly number[];
}

const COMPLETED = 255;
const CASE_BYTES = 16 + 8 + 128 + WINDOW_BYTES;

export const gprCount = (bitness: Bitness): number => (bitness === 64 ? 16 : 8);
export const startIp = (bitness: Bitness): bigint => BigInt(bitness === 16 ? CODE_OFFSET : CODE + CODE_OFFSET);

/** The input file of tools/recorder/recorder.c. */
export function encodeProgram(bitness: Bitness, cases: readonly Case[]): Uint8Array {
  const bytes = new Uint8Array(16 + cases.length * CASE_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode("TVCASES1"));
  view.setUint32(8, bitness, true);
  view.setUint32(12, cases.length, true);
  cases.forEach((c, n) => {
    const at = 16 + n * CASE_BYTES;
    bytes[at] = c.bytes.length;
    bytes.set(c.bytes, at + 1);
    view.setUint32(at + 16, c.flags, true);
    c.gprs.forEach((value, i) => {
      view.setBigUint64(at + 24 + i * 8, value, true);
    });
    bytes.set(c.memory, at + 24 + 128);
  });
  return bytes;
}

/** The output file of the recorder. */
export function parseResult(
  bytes: Uint8Array,
  bitness: Bitness,
  count: number,
): { origin: Origin; outcomes: readonly Outcome[] } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const processor = new TextDecoder().decode(bytes.subarray(0, 64)).replace(/\0.*$/s, "");
  const selectors = Array.from({ length: 6 }, (_, i) => view.getUint16(64 + i * 2, true));
  let at = 76;
  const outcomes: Outcome[] = [];
  for (let n = 0; n < count; n++) {
    const vector = view.getUint8(at);
    const flags = view.getUint32(at + 1, true);
    const ip = view.getBigUint64(at + 5, true);
    at += 13;
    const gprs: bigint[] = [];
    for (let i = 0; i < gprCount(bitness); i++, at += 8) gprs.push(view.getBigUint64(at, true));
    const changes = view.getUint16(at, true);
    at += 2;
    const memory: [number, number][] = [];
    for (let i = 0; i < changes; i++, at += 3)
      memory.push([view.getUint16(at, true) + DATA_START, view.getUint8(at + 2)]);
    outcomes.push({ vector: vector === COMPLETED ? undefined : vector, flags, ip, gprs, memory });
  }
  if (at !== bytes.length) throw new RangeError(`the result has ${bytes.length - at} bytes too many`);
  return { origin: { processor, selectors }, outcomes };
}

/** Bytes that grow; integers are LEB128. */
class Sink {
  readonly bytes: number[] = [];
  integer(value: bigint): void {
    let rest = value;
    do {
      const low = Number(rest & 0x7fn);
      rest >>= 7n;
      this.bytes.push(rest === 0n ? low : low | 0x80);
    } while (rest !== 0n);
  }
}

class Source {
  #at = 0;
  constructor(readonly bytes: Uint8Array) {}
  integer(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.bytes[this.#at++];
      if (byte === undefined) throw new RangeError("the vectors end early");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }
  number(): number {
    return Number(this.integer());
  }
  byte(): number {
    const byte = this.bytes[this.#at++];
    if (byte === undefined) throw new RangeError("the vectors end early");
    return byte;
  }
}

const zigzag = (value: bigint): bigint => (value >= 0n ? value << 1n : (-value << 1n) - 1n);
const unzigzag = (value: bigint): bigint => ((value & 1n) === 0n ? value >> 1n : -((value + 1n) >> 1n));

/** A digest of what the cases are, so that vectors of another generator are recognized. */
export function digestCases(cases: readonly Case[]): number {
  let hash = 0x811c9dc5;
  for (const c of cases) {
    for (const byte of c.bytes) hash = Math.imul(hash ^ byte, 0x01000193);
    for (const value of c.gprs) hash = Math.imul(hash ^ Number(BigInt.asUintN(32, value ^ (value >> 32n))), 0x01000193);
    for (let i = 0; i < c.memory.length; i += 7) hash = Math.imul(hash ^ (c.memory[i] ?? 0), 0x01000193);
    hash = Math.imul(hash ^ c.flags, 0x01000193);
  }
  return hash >>> 0;
}

/** The committed form: what changed from the input, compressed. */
export function encodeVectors(
  bitness: Bitness,
  origin: Origin,
  cases: readonly Case[],
  outcomes: readonly Outcome[],
): Uint8Array {
  const sink = new Sink();
  outcomes.forEach((outcome, n) => {
    const c = cases[n];
    if (c === undefined) throw new RangeError("more outcomes than cases");
    sink.bytes.push(outcome.vector ?? COMPLETED);
    sink.integer(BigInt(outcome.flags ^ c.flags));
    sink.integer(zigzag(BigInt.asIntN(64, outcome.ip - startIp(bitness))));
    let changed = 0n;
    outcome.gprs.forEach((value, i) => {
      if (value !== c.gprs[i]) changed |= 1n << BigInt(i);
    });
    sink.integer(changed);
    outcome.gprs.forEach((value, i) => {
      if (value !== c.gprs[i]) sink.integer(zigzag(BigInt.asIntN(64, value - (c.gprs[i] ?? 0n))));
    });
    sink.integer(BigInt(outcome.memory.length));
    let last = WINDOW;
    for (const [address, value] of outcome.memory) {
      sink.integer(zigzag(BigInt(address - last)));
      sink.bytes.push(value);
      last = address;
    }
  });
  const header = JSON.stringify({ ...origin, bitness, cases: cases.length, digest: digestCases(cases) });
  const body = Uint8Array.from([...new TextEncoder().encode(header), 0x0a]);
  const whole = new Uint8Array(body.length + sink.bytes.length);
  whole.set(body);
  whole.set(sink.bytes, body.length);
  return brotliCompressSync(whole, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 },
  });
}

export function decodeVectors(
  file: Uint8Array,
  bitness: Bitness,
  cases: readonly Case[],
): { origin: Origin; outcomes: readonly Outcome[] } {
  const whole = new Uint8Array(brotliDecompressSync(file));
  const end = whole.indexOf(0x0a);
  const header = JSON.parse(new TextDecoder().decode(whole.subarray(0, end))) as Origin & {
    bitness: number;
    cases: number;
    digest: number;
  };
  if (header.bitness !== bitness || header.cases !== cases.length || header.digest !== digestCases(cases)) {
    throw new Error(`vectors of ${bitness}-bit code are stale: run "pnpm record"`);
  }
  const source = new Source(whole.subarray(end + 1));
  const outcomes = cases.map((c): Outcome => {
    const vector = source.byte();
    const flags = source.number() ^ c.flags;
    const ip = BigInt.asUintN(64, startIp(bitness) + unzigzag(source.integer()));
    const changed = source.integer();
    const gprs = c.gprs
      .slice(0, gprCount(bitness))
      .map((value, i) =>
        ((changed >> BigInt(i)) & 1n) === 0n ? value : BigInt.asUintN(64, value + unzigzag(source.integer())),
      );
    const count = source.number();
    const memory: [number, number][] = [];
    let last = WINDOW;
    for (let i = 0; i < count; i++) {
      last += Number(unzigzag(source.integer()));
      memory.push([last, source.byte()]);
    }
    return { vector: vector === COMPLETED ? undefined : vector, flags, ip, gprs, memory };
  });
  return { origin: { processor: header.processor, selectors: header.selectors }, outcomes };
}
