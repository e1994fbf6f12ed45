import type { UopDefinition, UopEmitter } from "../definition.js";
import { binaryRow, join, lanes, unaryRow } from "./lanes.js";

/** Multiply in GF(2^8) by the polynomial of the Advanced Encryption Standard (FIPS 197, "Multiplication"). */
function multiply(x: number, y: number): number {
  let product = 0;
  for (let a = x, b = y; b > 0; b >>= 1) {
    if ((b & 1) !== 0) product ^= a;
    a = (a << 1) ^ ((a & 0x80) !== 0 ? 0x11b : 0);
  }
  return product;
}

/** FIPS 197, "SubBytes() Transformation": the inverse, then an affine transformation. */
function substitute(x: number): number {
  let inverse = 0;
  for (let y = 1; y < 256 && inverse === 0; y++) if (multiply(x, y) === 1) inverse = y;
  let result = 0x63;
  for (let n = 0; n < 5; n++) result ^= ((inverse << n) | (inverse >> (8 - n))) & 0xff;
  return result;
}

const SUBSTITUTION = Array.from({ length: 256 }, (_, x) => substitute(x));
const INVERSE_SUBSTITUTION = Array.from({ length: 256 }, (_, x) => SUBSTITUTION.indexOf(x));

/** Byte numbers that ShiftRows and its inverse take: byte `row + 4 * column` holds an element of the state. */
const SHIFT_ROWS = Array.from({ length: 16 }, (_, n) => (n % 4) + 4 * ((Math.floor(n / 4) + n) % 4));
const INVERSE_SHIFT_ROWS = Array.from({ length: 16 }, (_, n) => SHIFT_ROWS.indexOf(n));

/** The bytes of each column turned by `by` places. */
const turned = (by: number): number[] => Array.from({ length: 16 }, (_, n) => n - (n % 4) + ((n + by) % 4));

const bytesOf = (value: bigint): number[] => lanes(value, 8).map(Number);
const valueOf = (bytes: readonly number[]): bigint =>
  join(
    bytes.map((byte) => BigInt(byte)),
    8,
  );
const pick = (bytes: readonly number[], places: readonly number[]): number[] => places.map((n) => bytes[n] ?? 0);
const through = (bytes: readonly number[], table: readonly number[]): number[] => bytes.map((byte) => table[byte] ?? 0);

/** Multiply each column by a circulant matrix with this first row. */
function mix(bytes: readonly number[], row: readonly number[]): number[] {
  return bytes.map((_, n) =>
    row.reduce((sum, factor, k) => sum ^ multiply(factor, bytes[n - (n % 4) + ((n + k) % 4)] ?? 0), 0),
  );
}
const MIX_ROW = [2, 3, 1, 1];
const INVERSE_MIX_ROW = [14, 11, 13, 9];

/** Replace the vector on the stack by its bytes looked up in a table of 256, sixteen at a time. */
function emitLookUp(e: UopEmitter, table: readonly number[]): void {
  const { w } = e;
  const bytes = e.v128(0);
  w.set(bytes);
  for (let part = 0; part < 16; part++) {
    const entries = valueOf(table.slice(part * 16, part * 16 + 16));
    w.v128(BigInt.asUintN(64, entries), entries >> 64n);
    w.get(bytes);
    if (part > 0) {
      // Bytes of other sixteenths become numbers past 15, and so zero.
      w.i32(part * 16);
      w.op("i8x16.splat", "i8x16.sub");
    }
    w.op("i8x16.swizzle");
    if (part > 0) w.op("v128.or");
  }
}

function emitShuffle(e: UopEmitter, places: readonly number[]): void {
  const whole = e.v128(0);
  e.w.tee(whole);
  e.w.get(whole);
  e.w.shuffle(places);
}

/** Double each byte of the vector on the stack in GF(2^8). */
function emitDouble(e: UopEmitter): void {
  const { w } = e;
  const bytes = e.v128(0);
  w.tee(bytes);
  w.i32(1);
  w.op("i8x16.shl");
  w.get(bytes);
  w.i32(7);
  w.op("i8x16.shr_s");
  w.i32(0x1b);
  w.op("i8x16.splat", "v128.and", "v128.xor");
}

/** MixColumns on the stack: 2x + 3y + z + t is 2 (x + y) + y + z + t. */
function emitMix(e: UopEmitter): void {
  const { w } = e;
  const [bytes, next] = [e.v128(1), e.v128(2)];
  w.set(bytes);
  w.get(bytes);
  emitShuffle(e, turned(1));
  w.tee(next);
  w.get(bytes);
  w.op("v128.xor");
  emitDouble(e);
  w.get(next);
  w.op("v128.xor");
  for (const by of [2, 3]) {
    w.get(bytes);
    emitShuffle(e, turned(by));
    w.op("v128.xor");
  }
}

/** InvMixColumns on the stack: MixColumns of x + 4 (x + z), z being two places on. */
function emitInverseMix(e: UopEmitter): void {
  const { w } = e;
  const bytes = e.v128(1);
  w.tee(bytes);
  emitShuffle(e, turned(2));
  w.get(bytes);
  w.op("v128.xor");
  emitDouble(e);
  emitDouble(e);
  w.get(bytes);
  w.op("v128.xor");
  emitMix(e);
}

interface Round {
  readonly name: string;
  readonly text: string;
  readonly inverse: boolean;
  readonly last: boolean;
}

const ROUNDS: readonly Round[] = [
  { name: "aesenc", text: "one round of AES encryption of a with round key b", inverse: false, last: false },
  { name: "aesenclast", text: "the last round of AES encryption of a with round key b", inverse: false, last: true },
  { name: "aesdec", text: "one round of AES decryption of a with round key b", inverse: true, last: false },
  { name: "aesdeclast", text: "the last round of AES decryption of a with round key b", inverse: true, last: true },
];

function round({ name, text, inverse, last }: Round): UopDefinition {
  const table = inverse ? INVERSE_SUBSTITUTION : SUBSTITUTION;
  const places = inverse ? INVERSE_SHIFT_ROWS : SHIFT_ROWS;
  return binaryRow(
    name,
    text,
    (e) => {
      e.va();
      emitShuffle(e, places);
      emitLookUp(e, table);
      if (!last) (inverse ? emitInverseMix : emitMix)(e);
      e.vb();
      e.w.op("v128.xor");
    },
    (a, b) => {
      const bytes = through(pick(bytesOf(a), places), table);
      return valueOf(last ? bytes : mix(bytes, inverse ? INVERSE_MIX_ROW : MIX_ROW)) ^ b;
    },
  );
}

/** Bytes of AESKEYGENASSIST's result in its source: word 1, word 1 turned, word 3, word 3 turned. */
const KEY_WORDS = [4, 5, 6, 7, 5, 6, 7, 4, 12, 13, 14, 15, 13, 14, 15, 12];

/** AES, and the multiplication without carries that goes with it. */
export const VECTOR_CRYPTO: readonly UopDefinition[] = [
  ...ROUNDS.map(round),
  unaryRow(
    "aesimc",
    "InvMixColumns of a",
    (e) => {
      e.va();
      emitInverseMix(e);
    },
    (a) => valueOf(mix(bytesOf(a), INVERSE_MIX_ROW)),
  ),
  {
    name: "aeskeygenassist",
    summary: "d = words 1 and 3 of a substituted, each as it is and turned by a byte, with the latter ^ imm",
    operands: ["d", "a", "imm"],
    outlined: true,
    wasm: (e) =>
      e.setVD(() => {
        e.va();
        emitShuffle(e, KEY_WORDS);
        emitLookUp(e, SUBSTITUTION);
        e.imm();
        e.w.i64(32n);
        e.w.op("i64.shl", "i64x2.splat", "v128.xor");
      }),
    evaluate: (v) => {
      const constant = BigInt.asUintN(32, v.imm()) << 32n;
      const words = valueOf(through(pick(bytesOf(v.va()), KEY_WORDS), SUBSTITUTION));
      v.setVD(words ^ constant ^ (constant << 64n));
    },
  },
  {
    name: "clmul",
    summary: "vector d = product without carries of the 64 bits of a and of b",
    operands: ["d", "a", "b"],
    outlined: true,
    wasm: (e) => {
      const { w } = e;
      const [a, b, low, high, left] = [e.i64(0), e.i64(1), e.i64(2), e.i64(3), e.i32(0)];
      e.a();
      w.set(a);
      e.b();
      w.set(b);
      for (const half of [low, high]) {
        w.i64(0n);
        w.set(half);
      }
      w.i32(64);
      w.set(left);
      w.loop((again) => {
        w.get(high);
        w.i64(1n);
        w.op("i64.shl");
        w.get(low);
        w.i64(63n);
        w.op("i64.shr_u", "i64.or");
        w.set(high);
        w.get(low);
        w.i64(1n);
        w.op("i64.shl");
        w.get(a);
        w.get(b);
        w.i64(63n);
        w.op("i64.shr_s", "i64.and", "i64.xor");
        w.set(low);
        w.get(b);
        w.i64(1n);
        w.op("i64.shl");
        w.set(b);
        w.get(left);
        w.i32(1);
        w.op("i32.sub");
        w.tee(left);
        w.brIf(again);
      });
      e.setVD(() => {
        w.get(low);
        w.op("i64x2.splat");
        w.get(high);
        w.lane("i64x2.replace_lane", 1);
      });
    },
    evaluate: (v) => {
      let product = 0n;
      for (let n = 0n; n < 64n; n++) if (((v.b() >> n) & 1n) !== 0n) product ^= v.a() << n;
      v.setVD(product);
    },
  },
];
