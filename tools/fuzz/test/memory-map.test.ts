import { describe, expect, it } from "vitest";
import { VECTOR } from "../../../packages/x86-isa/src/index.js";
import { INITIAL_FX } from "../../../packages/x86-isa/test/vectors/fxsave.js";
import {
  CODE,
  CODE_BYTES,
  CODE_FILLER,
  CODE_OFFSET,
  DATA_END,
  DATA_START,
  WINDOW_BYTES,
  type Case,
} from "../../../packages/x86-isa/test/vectors/layout.js";
import type { Origin, Outcome } from "../../../packages/x86-isa/test/vectors/program.js";
import { NativeProcessor, nativeObstacle } from "../../recorder/native.js";
import { evaluator, interpreter } from "../executors.js";

/** MOV AL, [rDI] and MOV [rDI], AL. */
const LOAD = [0x8a, 0x07];
const STORE = [0x88, 0x07];
const AL = 0x5a;
const RAX = 0;
const RDI = 7;

type Access = "none" | "read" | "write";

/** What user code may do at an address, and the byte that it reads there. */
const MAP: readonly (readonly [address: number, access: Access, value?: number])[] = [
  [DATA_START - 1, "none"],
  [DATA_START, "write", 0],
  [DATA_END - 1, "write", 0],
  [DATA_END, "none"],
  [CODE - 1, "none"],
  [CODE, "read", CODE_FILLER],
  [CODE + CODE_OFFSET, "read", LOAD[0] ?? -1],
  [CODE + CODE_OFFSET + LOAD.length, "read", CODE_FILLER],
  [CODE + CODE_BYTES - 1, "read", CODE_FILLER],
  [CODE + CODE_BYTES, "none"],
  // Where a bit of a register that points into the window leads when it is turned over.
  [0x2000_2280, "none"],
];

function caseOf(bytes: readonly number[], address: number): Case {
  const gprs = Array.from({ length: 16 }, (_, n) => (n === RAX ? BigInt(AL) : n === RDI ? BigInt(address) : 0n));
  return { bytes: Uint8Array.from(bytes), gprs, flags: 0, memory: new Uint8Array(WINDOW_BYTES), fx: INITIAL_FX };
}

const CASES = MAP.flatMap(([address]) => [caseOf(LOAD, address), caseOf(STORE, address)]);

/** The faults and the bytes read by {@link CASES}. */
const EXPECTED = MAP.flatMap(([, access, value]) => [
  access === "none" ? VECTOR.PF : value,
  access === "write" ? AL : VECTOR.PF,
]);

const seen = (outcome: Outcome): number => outcome.vector ?? Number((outcome.gprs[RAX] ?? 0n) & 0xffn);

/** As in a process of Linux. */
const ORIGIN: Origin = { processor: "", selectors: [0x2b, 0x33, 0x2b, 0x2b, 0, 0] };

describe.each([64, 32] as const)("memory that %i-bit code of a case reaches", (bitness) => {
  it.each(Object.entries({ evaluator, interpreter }))("is data, and code to read, in the %s", (_, make) => {
    const execute = make(bitness);
    expect(CASES.map((c) => seen(execute(c, ORIGIN).outcome))).toEqual(EXPECTED);
  });

  it.skipIf(nativeObstacle() !== undefined)("is the same on this processor", () => {
    const native = new NativeProcessor();
    try {
      expect(native.run(bitness, "sequence", CASES).outcomes.map(seen)).toEqual(EXPECTED);
    } finally {
      native.close();
    }
  });
});
