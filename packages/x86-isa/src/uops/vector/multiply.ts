import type { UopDefinition, UopEmitter } from "../definition.js";
import {
  apply,
  binaryRow,
  elementwise,
  join,
  lanes,
  saturateSigned,
  SHAPES,
  signed,
  SUFFIXES,
  unaryRow,
} from "./lanes.js";

const rows: UopDefinition[] = [];

/** Byte numbers of the high words of two vectors of products of 32 bits. */
const HIGH_WORDS = Array.from({ length: 16 }, (_, n) => Math.floor(n / 2) * 4 + 2 + (n % 2));

const highProducts = (sign: "s" | "u") => (e: UopEmitter) => {
  for (const half of ["low", "high"] as const) {
    e.va();
    e.vb();
    e.w.op(`i32x4.extmul_${half}_i16x8_${sign}`);
  }
  e.w.shuffle(HIGH_WORDS);
};

/** Push the product of the even elements of 32 bits of a and b. */
const evenProducts = (sign: "s" | "u") => (e: UopEmitter) => {
  const even = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
  for (const push of [() => e.va(), () => e.vb()]) {
    push();
    push();
    e.w.shuffle(even);
  }
  e.w.op(`i64x2.extmul_low_i32x4_${sign}`);
};

/** Pairs of neighbours, lowest first. */
function pairs(elements: readonly bigint[]): (readonly [even: bigint, odd: bigint])[] {
  return Array.from({ length: elements.length / 2 }, (_, n) => [elements[n * 2] ?? 0n, elements[n * 2 + 1] ?? 0n]);
}

rows.push(
  binaryRow(
    "pmulhw",
    "high halves of the products of signed words",
    highProducts("s"),
    elementwise(16, (x, y) => (signed(16, x) * signed(16, y)) >> 16n),
  ),
  binaryRow(
    "pmulhuw",
    "high halves of the products of unsigned words",
    highProducts("u"),
    elementwise(16, (x, y) => (x * y) >> 16n),
  ),
  binaryRow(
    "pmulhrsw",
    "bits 30:15 of the products of signed words, rounded",
    (e) => {
      const { w } = e;
      // WebAssembly saturates the one product that overflows, x86 wraps it: both factors are -32768.
      const least = (): void => w.v128(0x8000_8000_8000_8000n, 0x8000_8000_8000_8000n);
      e.va();
      e.vb();
      w.op("i16x8.q15mulr_sat_s");
      for (const push of [() => e.va(), () => e.vb()]) {
        push();
        least();
        w.op("i16x8.eq");
      }
      w.op("v128.and", "v128.xor");
    },
    elementwise(16, (x, y) => (((signed(16, x) * signed(16, y)) >> 14n) + 1n) >> 1n),
  ),
  binaryRow("pmaddwd", "sums of the products of neighbouring signed words", apply("i32x4.dot_i16x8_s"), (a, b) => {
    const products = lanes(a, 16).map((x, n) => signed(16, x) * signed(16, lanes(b, 16)[n] ?? 0n));
    return join(
      pairs(products).map(([even, odd]) => even + odd),
      32,
    );
  }),
  binaryRow(
    "pmaddubsw",
    "sums of the products of neighbouring bytes, unsigned of a and signed of b, saturated signed",
    (e) => {
      const { w } = e;
      e.va();
      w.i32(0x00ff);
      w.op("i16x8.splat", "v128.and");
      e.vb();
      w.i32(8);
      w.op("i16x8.shl");
      w.i32(8);
      w.op("i16x8.shr_s", "i16x8.mul");
      e.va();
      w.i32(8);
      w.op("i16x8.shr_u");
      e.vb();
      w.i32(8);
      w.op("i16x8.shr_s", "i16x8.mul", "i16x8.add_sat_s");
    },
    (a, b) => {
      const products = lanes(a, 8).map((x, n) => x * signed(8, lanes(b, 8)[n] ?? 0n));
      return join(
        pairs(products).map(([even, odd]) => saturateSigned(16, even + odd)),
        16,
      );
    },
  ),
  binaryRow(
    "pmuludq",
    "products of the even unsigned elements of 32 bits",
    evenProducts("u"),
    elementwise(64, (x, y) => BigInt.asUintN(32, x) * BigInt.asUintN(32, y)),
  ),
  binaryRow(
    "pmuldq",
    "products of the even signed elements of 32 bits",
    evenProducts("s"),
    elementwise(64, (x, y) => signed(32, x) * signed(32, y)),
  ),
  binaryRow(
    "psadbw",
    "sums of the eight absolute differences of unsigned bytes of each half",
    (e) => {
      const { w } = e;
      const sums = e.v128(0);
      for (const op of ["i8x16.max_u", "i8x16.min_u"] as const) apply(op)(e);
      w.op("i8x16.sub", "i16x8.extadd_pairwise_i8x16_u", "i32x4.extadd_pairwise_i16x8_u");
      w.tee(sums);
      w.get(sums);
      w.i32(32);
      w.op("i64x2.shr_u", "i64x2.add");
      w.v128(0xffff_ffffn, 0xffff_ffffn);
      w.op("v128.and");
    },
    (a, b) => {
      const other = lanes(b, 8);
      const differences = lanes(a, 8).map((x, n) =>
        x > (other[n] ?? 0n) ? x - (other[n] ?? 0n) : (other[n] ?? 0n) - x,
      );
      const sum = (part: readonly bigint[]): bigint => part.reduce((total, x) => total + x, 0n);
      return join([sum(differences.slice(0, 8)), sum(differences.slice(8))], 64);
    },
  ),
);

/** Push byte `n` of the vector that `push` pushes in every byte. */
const spread = (e: UopEmitter, push: () => void, n: number): void => {
  push();
  push();
  e.w.shuffle(Array.from({ length: 16 }, () => n));
};

rows.push(
  binaryRow(
    "mpsadbw",
    "for each of eight neighbouring groups of four bytes of a, the sum of absolute differences from bytes 3:0 of b",
    (e) => {
      const { w } = e;
      for (let k = 0; k < 4; k++) {
        const [x, y] = [e.v128(0), e.v128(1)];
        e.va();
        e.va();
        w.shuffle(Array.from({ length: 16 }, (_, n) => (n + k) % 16));
        w.op("i16x8.extend_low_i8x16_u");
        w.set(x);
        spread(e, () => e.vb(), k);
        w.op("i16x8.extend_low_i8x16_u");
        w.set(y);
        w.get(x);
        w.get(y);
        w.op("i16x8.sub", "i16x8.abs");
        if (k > 0) w.op("i16x8.add");
      }
    },
    (a, b) => {
      const [bytes, group] = [lanes(a, 8), lanes(b, 8, 4)];
      const sums = Array.from({ length: 8 }, (_, n) =>
        group.reduce((sum, y, k) => {
          const x = bytes[n + k] ?? 0n;
          return sum + (x > y ? x - y : y - x);
        }, 0n),
      );
      return join(sums, 16);
    },
  ),
  unaryRow(
    "phminposuw",
    "the smallest unsigned word of a, and above it the place where it is first",
    (e) => {
      const { w } = e;
      const least = e.v128(0);
      // Value and place in one element, so that a minimum of elements decides both.
      for (const half of ["low", "high"] as const) {
        e.va();
        w.op(`i32x4.extend_${half}_i16x8_u`);
        w.i32(16);
        w.op("i32x4.shl");
        if (half === "low") w.v128(0x1_0000_0000n, 0x3_0000_0002n);
        else w.v128(0x5_0000_0004n, 0x7_0000_0006n);
        w.op("v128.or");
      }
      w.op("i32x4.min_u");
      for (const distance of [8, 4]) {
        w.tee(least);
        w.get(least);
        w.get(least);
        w.shuffle(Array.from({ length: 16 }, (_, n) => (n + distance) % 16));
        w.op("i32x4.min_u");
      }
      w.set(least);
      w.v128(0n, 0n);
      w.get(least);
      w.lane("i32x4.extract_lane", 0);
      w.i32(16);
      w.op("i32.rotl");
      w.lane("i32x4.replace_lane", 0);
    },
    (a) => {
      const words = lanes(a, 16);
      const least = words.reduce((x, y) => (x < y ? x : y));
      return least | (BigInt(words.indexOf(least)) << 16n);
    },
  ),
);

// --- sums and differences of neighbours

for (const bits of [16, 32] as const) {
  const bytes = bits / 8;
  const every = (odd: 0 | 1): number[] =>
    Array.from({ length: 16 }, (_, n) => (Math.floor(n / bytes) * 2 + odd) * bytes + (n % bytes));
  const horizontal = (
    name: string,
    text: string,
    op: string,
    f: (even: bigint, odd: bigint) => bigint,
  ): UopDefinition =>
    binaryRow(
      `${name}${bits === 16 && op.includes("sat") ? "sw" : SUFFIXES[bits]}`,
      `${text} of neighbouring signed elements of ${bits} bits of a, then b`,
      (e) => {
        for (const odd of [0, 1] as const) {
          e.va();
          e.vb();
          e.w.shuffle(every(odd));
        }
        e.w.op(`${SHAPES[bits]}.${op}` as "i16x8.add");
      },
      (a, b) =>
        join(
          pairs([...lanes(a, bits), ...lanes(b, bits)]).map(([even, odd]) => f(signed(bits, even), signed(bits, odd))),
          bits,
        ),
    );
  rows.push(
    horizontal("phadd", "sums", "add", (even, odd) => even + odd),
    horizontal("phsub", "differences", "sub", (even, odd) => even - odd),
  );
  if (bits !== 16) continue;
  rows.push(
    horizontal("phadd", "saturated sums", "add_sat_s", (even, odd) => saturateSigned(16, even + odd)),
    horizontal("phsub", "saturated differences", "sub_sat_s", (even, odd) => saturateSigned(16, even - odd)),
  );
}

/** Products, and what adds elements of one vector up. */
export const VECTOR_MULTIPLY: readonly UopDefinition[] = rows;
