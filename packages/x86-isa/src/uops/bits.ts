import type { UopDefinition, UopEmitter } from "./definition.js";
import { emitFlags, setFlags, signExtend, SIZES, u64, zeroExtend } from "./parts.js";
import type { PlainOp } from "../wasm/opcodes.js";

const rows: UopDefinition[] = [];

const unary = (name: string, summary: string, ops: readonly PlainOp[], value: (a: bigint) => bigint): void => {
  rows.push({
    name,
    summary,
    operands: ["d", "a"],
    wasm: (e) =>
      e.setD(() => {
        e.a();
        e.w.op(...ops);
      }),
    evaluate: (v) => v.setD(value(v.a())),
  });
};

unary("eqz", "d = 1 if a is 0, else 0", ["i64.eqz", "i64.extend_i32_u"], (a) => (a === 0n ? 1n : 0n));
unary("clz64", "d = count of leading zero bits of a, 64 for 0", ["i64.clz"], (a) =>
  BigInt(64 - (a === 0n ? 0 : a.toString(2).length)),
);
unary("ctz64", "d = count of trailing zero bits of a, 64 for 0", ["i64.ctz"], (a) => {
  let n = 0n;
  while (n < 64n && ((a >> n) & 1n) === 0n) n++;
  return n;
});
unary("popcnt64", "d = count of bits that are 1 in a", ["i64.popcnt"], (a) =>
  BigInt(a.toString(2).replaceAll("0", "").length),
);

for (const immediate of [false, true]) {
  rows.push({
    name: immediate ? "ltui64nf" : "ltu64nf",
    summary: `d = 1 if a < ${immediate ? "imm" : "b"}, unsigned, else 0`,
    operands: ["d", "a", immediate ? "imm" : "b"],
    wasm: (e) =>
      e.setD(() => {
        e.a();
        if (immediate) e.imm();
        else e.b();
        e.w.op("i64.lt_u", "i64.extend_i32_u");
      }),
    evaluate: (v) => v.setD(v.a() < (immediate ? v.imm() : v.b()) ? 1n : 0n),
  });
}

/** Exchange neighbouring fields of `bits` bits of the i64 in `local`. */
const exchange = (e: UopEmitter, local: number, bits: bigint, fields: bigint): void => {
  const { w } = e;
  w.get(local);
  w.i64(bits);
  w.op("i64.shr_u");
  w.i64(fields);
  w.op("i64.and");
  w.get(local);
  w.i64(fields);
  w.op("i64.and");
  w.i64(bits);
  w.op("i64.shl", "i64.or");
  w.set(local);
};

rows.push({
  name: "bswap64",
  summary: "d = the 8 bytes of a in reverse",
  operands: ["d", "a"],
  wasm: (e) => {
    const x = e.i64(0);
    e.a();
    e.w.set(x);
    exchange(e, x, 8n, 0x00ff_00ff_00ff_00ffn);
    exchange(e, x, 16n, 0x0000_ffff_0000_ffffn);
    e.setD(() => {
      e.w.get(x);
      e.w.i64(32n);
      e.w.op("i64.rotl");
    });
  },
  evaluate: (v) => {
    let [rest, result] = [v.a(), 0n];
    for (let i = 0; i < 8; i++, rest >>= 8n) result = (result << 8n) | (rest & 0xffn);
    v.setD(result);
  },
});

for (const name of ["pdep64", "pext64"] as const) {
  rows.push({
    name,
    summary:
      name === "pdep64"
        ? "d = low bits of a at the places that b marks"
        : "d = bits of a at the places that b marks, packed",
    operands: ["d", "a", "b"],
    outlined: true,
    wasm: (e) => {
      const { w } = e;
      const [source, places, result, at, lowest] = [e.i64(0), e.i64(1), e.i64(2), e.i64(3), e.i64(4)];
      e.a();
      w.set(source);
      e.b();
      w.set(places);
      w.i64(0n);
      w.set(result);
      w.i64(1n);
      w.set(at);
      w.block((done) => {
        w.loop((again) => {
          w.get(places);
          w.op("i64.eqz");
          w.brIf(done);
          w.get(places);
          w.i64(0n);
          w.get(places);
          w.op("i64.sub", "i64.and");
          w.set(lowest);
          w.get(source);
          w.get(name === "pdep64" ? at : lowest);
          w.op("i64.and", "i64.eqz", "i32.eqz");
          w.if(() => {
            w.get(result);
            w.get(name === "pdep64" ? lowest : at);
            w.op("i64.or");
            w.set(result);
          });
          w.get(places);
          w.get(lowest);
          w.op("i64.xor");
          w.set(places);
          w.get(at);
          w.i64(1n);
          w.op("i64.shl");
          w.set(at);
          w.br(again);
        });
      });
      e.setD(() => w.get(result));
    },
    evaluate: (v) => {
      let [result, n] = [0n, 0n];
      for (let i = 0n; i < 64n; i++) {
        if (((v.b() >> i) & 1n) === 0n) continue;
        if (name === "pdep64") result |= ((v.a() >> n) & 1n) << i;
        else result |= ((v.a() >> i) & 1n) << n;
        n++;
      }
      v.setD(result);
    },
  });
}

/** The polynomial of CRC32C, its bits reversed (SDM vol. 2, "CRC32": 11EDC6F41H). */
const CRC32C = 0x82f6_3b78;

for (const size of SIZES) {
  rows.push(
    {
      name: `crc32_${size}`,
      summary: `d = CRC32C of ${size} bits of a, continued from d`,
      operands: ["d", "a"],
      outlined: true,
      wasm: (e) => {
        const { w } = e;
        const [crc, data, count] = [e.i64(0), e.i64(1), e.i32(0)];
        e.d();
        w.i64(0xffff_ffffn);
        w.op("i64.and");
        w.set(crc);
        e.a();
        w.set(data);
        w.i32(size);
        w.set(count);
        w.loop((again) => {
          // One bit of data a turn: it meets bit 0 of the remainder.
          w.get(crc);
          w.i64(1n);
          w.op("i64.shr_u");
          w.i64(0n);
          w.get(crc);
          w.get(data);
          w.op("i64.xor");
          w.i64(1n);
          w.op("i64.and", "i64.sub");
          w.i64(BigInt(CRC32C));
          w.op("i64.and", "i64.xor");
          w.set(crc);
          w.get(data);
          w.i64(1n);
          w.op("i64.shr_u");
          w.set(data);
          w.get(count);
          w.i32(1);
          w.op("i32.sub");
          w.tee(count);
          w.brIf(again);
        });
        e.setD(() => w.get(crc));
      },
      evaluate: (v) => {
        let crc = zeroExtend(32, v.d());
        for (let at = 0n; at < size; at += 8n) {
          crc ^= (v.a() >> at) & 0xffn;
          for (let i = 0; i < 8; i++) crc = (crc & 1n) !== 0n ? (crc >> 1n) ^ BigInt(CRC32C) : crc >> 1n;
        }
        v.setD(crc);
      },
    },
    {
      name: `logic${size}`,
      summary: `flags of a logical operation with the ${size}-bit result a`,
      operands: ["a"],
      writesFlags: true,
      wasm: (e) => {
        const result = e.i64(0);
        e.a();
        e.w.set(result);
        emitFlags(e, size, result, () => e.w.i64(0n));
      },
      evaluate: (v) => setFlags(v, size, signExtend(size, u64(v.a())), { cf: 0n, of: 0n, af: 0n }),
    },
  );
}

/** Counting, scattering and reversing bits. */
export const BITS: readonly UopDefinition[] = rows;
