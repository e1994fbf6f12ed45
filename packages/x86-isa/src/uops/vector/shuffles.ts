import type { UopDefinition, UopEmitter } from "../definition.js";
import type { PlainOp } from "../../wasm/opcodes.js";
import {
  apply,
  binaryRow,
  immediateRow,
  join,
  lanes,
  saturateSigned,
  saturateUnsigned,
  SHAPES,
  signed,
  SUFFIXES,
  unaryRow,
  type LaneBits,
} from "./lanes.js";

const rows: UopDefinition[] = [];

rows.push({
  name: "vmov",
  summary: "d = a, 128 bits",
  operands: ["d", "a"],
  wasm: (e) => e.setVD(() => e.va()),
  evaluate: (v) => v.setVD(v.va()),
});

// --- interleaving

const UNPACK_SUFFIXES = { 8: "bw", 16: "wd", 32: "dq", 64: "qdq" } as const;

for (const half of ["l", "h"] as const) {
  for (const bits of [8, 16, 32, 64] as const) {
    const bytes = bits / 8;
    const first = half === "l" ? 0 : 8;
    const picked = Array.from({ length: 16 }, (_, n) => {
      const element = Math.floor(n / bytes);
      return first + Math.floor(element / 2) * bytes + (n % bytes) + (element % 2 === 0 ? 0 : 16);
    });
    rows.push(
      binaryRow(
        `punpck${half}${UNPACK_SUFFIXES[bits]}`,
        `elements of ${bits} bits of the ${half === "l" ? "low" : "high"} halves of a and b, in turn`,
        (e) => {
          e.va();
          e.vb();
          e.w.shuffle(picked);
        },
        (a, b) => {
          const count = 64 / bits;
          const shift = half === "l" ? 0n : 64n;
          const other = lanes(b >> shift, bits, count);
          return join(
            lanes(a >> shift, bits, count).flatMap((x, n) => [x, other[n] ?? 0n]),
            bits,
          );
        },
      ),
    );
  }
}

// --- narrowing and widening

for (const { name, bits, unsigned } of [
  { name: "packsswb", bits: 16, unsigned: false },
  { name: "packuswb", bits: 16, unsigned: true },
  { name: "packssdw", bits: 32, unsigned: false },
  { name: "packusdw", bits: 32, unsigned: true },
] as const) {
  const half = bits / 2;
  const op = bits === 16 ? "i8x16.narrow_i16x8" : "i16x8.narrow_i32x4";
  const saturate = unsigned ? saturateUnsigned : saturateSigned;
  rows.push(
    binaryRow(
      name,
      `signed elements of ${bits} bits of a, then b, saturated to ${half} bits ${unsigned ? "unsigned" : "signed"}`,
      apply(unsigned ? `${op}_u` : `${op}_s`),
      (a, b) =>
        join(
          [...lanes(a, bits), ...lanes(b, bits)].map((x) => saturate(half, signed(bits, x))),
          half,
        ),
    ),
  );
}

const EXTENSIONS: readonly (readonly [from: LaneBits, to: LaneBits])[] = [
  [8, 16],
  [8, 32],
  [8, 64],
  [16, 32],
  [16, 64],
  [32, 64],
];

for (const kind of ["s", "z"] as const) {
  for (const [from, to] of EXTENSIONS) {
    const steps: PlainOp[] = [];
    for (let bits: number = from; bits < to; bits *= 2) {
      const [narrow, wide] = [SHAPES[bits as 8 | 16 | 32], SHAPES[(bits * 2) as 16 | 32 | 64]];
      steps.push(`${wide}.extend_low_${narrow}_${kind === "s" ? "s" : "u"}` as PlainOp);
    }
    rows.push(
      unaryRow(
        `pmov${kind}x${SUFFIXES[from]}${SUFFIXES[to]}`,
        `the low elements of ${from} bits of a, ${kind === "s" ? "sign" : "zero"}-extended to ${to}`,
        (e) => {
          e.va();
          e.w.op(...steps);
        },
        (a) =>
          join(
            lanes(a, from, 128 / to).map((x) => (kind === "s" ? signed(from, x) : x)),
            to,
          ),
      ),
    );
  }
}

// --- arbitrary selections

rows.push(
  binaryRow(
    "pshufb",
    "bytes of a selected by the low four bits of those of b, 0 where its bit 7 is set",
    (e) => {
      e.va();
      e.vb();
      e.w.i32(0x8f);
      e.w.op("i8x16.splat", "v128.and", "i8x16.swizzle");
    },
    (a, b) => {
      const bytes = lanes(a, 8);
      return join(
        lanes(b, 8).map((index) => ((index & 0x80n) !== 0n ? 0n : (bytes[Number(index & 15n)] ?? 0n))),
        8,
      );
    },
  ),
);

/** Push the byte numbers of the words whose positions the bytes of imm are. */
function emitSelection(e: UopEmitter): void {
  const { w } = e;
  e.imm();
  w.op("i64x2.splat");
  w.i32(0x7f);
  w.op("i8x16.splat", "v128.and");
  const positions = e.v128(0);
  w.tee(positions);
  w.get(positions);
  w.shuffle([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]);
  // Word n has the bytes 2n and 2n + 1.
  w.i32(1);
  w.op("i8x16.shl");
  w.v128(0x0100_0100_0100_0100n, 0x0100_0100_0100_0100n);
  w.op("v128.or");
}

/** A word of a pair of vectors by a byte of a selection; 0 for positions past it. */
const selected = (words: readonly bigint[], imm: bigint): bigint =>
  join(
    lanes(imm, 8, 8).map((position) => words[Number(position & 0x7fn)] ?? 0n),
    16,
  );

rows.push(
  immediateRow(
    "shufw",
    "words of a selected by the low seven bits of the bytes of imm, 0 for numbers past 7",
    (e) => {
      e.va();
      emitSelection(e);
      e.w.op("i8x16.swizzle");
    },
    (a, imm) => selected(lanes(a, 16), imm),
  ),
  {
    name: "shufw2",
    summary: "d = words of a (0 to 7) and b (8 to 15) selected by the low seven bits of the bytes of imm, 0 past 15",
    operands: ["d", "a", "b", "imm"],
    outlined: true,
    wasm: (e) => {
      const { w } = e;
      const from = e.v128(1);
      e.setVD(() => {
        emitSelection(e);
        w.set(from);
        e.va();
        w.get(from);
        w.op("i8x16.swizzle");
        e.vb();
        w.get(from);
        w.i32(16);
        w.op("i8x16.splat", "i8x16.sub", "i8x16.swizzle", "v128.or");
      });
    },
    evaluate: (v) => v.setVD(selected([...lanes(v.va(), 16), ...lanes(v.vb(), 16)], v.imm())),
  },
);

for (const bits of [8, 32, 64] as const) {
  const name = { 8: "pblendvb", 32: "blendvps", 64: "blendvpd" }[bits];
  rows.push({
    name,
    summary: `elements of ${bits} bits of d = those of a where the sign of b is set`,
    operands: ["d", "a", "b"],
    outlined: true,
    wasm: (e) =>
      e.setVD(() => {
        e.va();
        e.vd();
        e.vb();
        e.w.i32(bits - 1);
        e.w.op(`${SHAPES[bits]}.shr_s`, "v128.bitselect");
      }),
    evaluate: (v) => {
      const [a, b] = [lanes(v.va(), bits), lanes(v.vb(), bits)];
      v.setVD(
        join(
          lanes(v.vd(), bits).map((x, n) => (signed(bits, b[n] ?? 0n) < 0n ? (a[n] ?? 0n) : x)),
          bits,
        ),
      );
    },
  });
}

/** Moves, interleaving, narrowing and widening, selections. */
export const VECTOR_SHUFFLES: readonly UopDefinition[] = rows;
