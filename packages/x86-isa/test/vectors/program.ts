import type { Bitness } from "../../src/index.js";
import { FX_BYTES } from "./fxsave.js";
import { CODE, CODE_OFFSET, DATA_START, WINDOW_BYTES, type Case } from "./layout.js";

/** What one execution ended with. */
export interface Outcome {
  /** Vector of the exception that it raised; undefined if it completed. */
  readonly vector: number | undefined;
  /** CF, PF, AF, ZF, SF, OF and DF. */
  readonly flags: number;
  readonly ip: bigint;
  readonly gprs: readonly bigint[];
  /** x87 and SSE state as FXSAVE stores it. */
  readonly fx: Uint8Array;
  /** Linear address and new value of each byte that changed, in order of address. */
  readonly memory: readonly (readonly [address: number, value: number])[];
}

/** Who recorded, and the selectors that user code had there (ES, CS, SS, DS, FS, GS). */
export interface Origin {
  readonly processor: string;
  readonly selectors: readonly number[];
}

/** Single instructions are stepped; sequences run to their end. */
export type Kind = "stepped" | "sequence";

const COMPLETED = 255;
const HEADER_BYTES = 24;
const FX_AT = 8 + 128;
const MEMORY_AT = FX_AT + FX_BYTES;
const CODE_AT = MEMORY_AT + WINDOW_BYTES;
/** Longest code of a case. */
const CODE_BYTES: Record<Kind, number> = { stepped: 16, sequence: 1024 };

export const gprCount = (bitness: Bitness): number => (bitness === 64 ? 16 : 8);
export const startIp = (bitness: Bitness): bigint => BigInt(bitness === 16 ? CODE_OFFSET : CODE + CODE_OFFSET);

/** The input file of tools/recorder/recorder.c. */
export function encodeProgram(bitness: Bitness, kind: Kind, cases: readonly Case[]): Uint8Array {
  const codeBytes = CODE_BYTES[kind];
  const caseBytes = CODE_AT + codeBytes;
  const bytes = new Uint8Array(HEADER_BYTES + cases.length * caseBytes);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode("TVCASES2"));
  view.setUint32(8, bitness, true);
  view.setUint32(12, cases.length, true);
  view.setUint32(16, kind === "stepped" ? 1 : 0, true);
  view.setUint32(20, codeBytes, true);
  cases.forEach((c, n) => {
    const at = HEADER_BYTES + n * caseBytes;
    if (c.bytes.length > codeBytes) throw new RangeError(`${c.bytes.length} bytes of code are too many`);
    view.setUint32(at, c.bytes.length, true);
    view.setUint32(at + 4, c.flags, true);
    c.gprs.forEach((value, i) => {
      view.setBigUint64(at + 8 + i * 8, value, true);
    });
    bytes.set(c.fx, at + FX_AT);
    bytes.set(c.memory, at + MEMORY_AT);
    bytes.set(c.bytes, at + CODE_AT);
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
    const fx = bytes.slice(at, at + FX_BYTES);
    at += FX_BYTES;
    const changes = view.getUint16(at, true);
    at += 2;
    const memory: [number, number][] = [];
    for (let i = 0; i < changes; i++, at += 3)
      memory.push([view.getUint16(at, true) + DATA_START, view.getUint8(at + 2)]);
    outcomes.push({ vector: vector === COMPLETED ? undefined : vector, flags, ip, gprs, fx, memory });
  }
  if (at !== bytes.length) throw new RangeError(`the result has ${bytes.length - at} bytes too many`);
  return { origin: { processor, selectors }, outcomes };
}
