import { GuestException } from "../environment.js";
import { LEA_SHIFTS, leaRow, ripRelativeRow } from "./addresses.js";
import { signExtend, u64, zeroExtend } from "./parts.js";
import { accessOf } from "./memory.js";
import type { MemorySize, UopDefinition, UopEmitter, UopValues } from "./definition.js";

/**
 * Loads and stores that compute their address themselves, for the addressing modes of compiled code: `c` cuts it to 32
 * bits, `x` adds an index.
 */
interface Form {
  readonly suffix: "c" | "x" | "xc";
  readonly text: string;
  readonly indexed: boolean;
  readonly cut: boolean;
}

const FORMS: readonly Form[] = [
  { suffix: "c", text: "a + low half of imm, cut to 32 bits", indexed: false, cut: true },
  { suffix: "x", text: "a + index + low half of imm", indexed: true, cut: false },
  { suffix: "xc", text: "a + index + low half of imm, cut to 32 bits", indexed: true, cut: true },
];

/** Where the constant of an indexed row has its index: bits 47:40 the shift, bits 63:48 the slot. */
const INDEX = { SHIFT: 40n, SLOT: 48n } as const;

/** The bits of an indexed row's constant beside displacement and access flags. */
export function packIndex(slot: number, shift: number): bigint {
  return (BigInt(slot) << INDEX.SLOT) | (BigInt(shift) << INDEX.SHIFT);
}

function emitAddress(e: UopEmitter, { indexed, cut }: Form): void {
  const { w } = e;
  e.a();
  if (indexed) {
    e.index();
    w.op("i64.add");
  }
  e.immLow();
  w.op("i64.add");
  if (cut) w.op("i32.wrap_i64", "i64.extend_i32_u");
}

function addressOf(v: UopValues, { indexed, cut }: Form): bigint {
  const imm = v.imm();
  const slot = Number(imm >> INDEX.SLOT);
  const index = indexed ? v.machine.state.get64(slot) << ((imm >> INDEX.SHIFT) & 0xffn) : 0n;
  return zeroExtend(cut ? 32 : 64, v.a() + index + signExtend(32, imm));
}

const rows: UopDefinition[] = [];

for (const form of FORMS) {
  for (const size of [1, 2, 4, 8] as const satisfies readonly MemorySize[]) {
    const bits = size * 8;
    rows.push(
      {
        name: `ld${bits}${form.suffix}`,
        summary: `d = ${bits} bits at linear address ${form.text}; zero-extended`,
        operands: ["d", "a", "imm"],
        memory: true,
        wasm: (e) => e.setD(() => e.load(size, false, () => emitAddress(e, form))),
        evaluate: (v) => v.setD(v.machine.load(addressOf(v, form), size, accessOf(v, "read"))),
      },
      {
        name: `st${bits}${form.suffix}`,
        summary: `${bits} bits at linear address ${form.text} = b`,
        operands: ["a", "b", "imm"],
        memory: true,
        wasm: (e) =>
          e.store(
            size,
            () => e.b(),
            () => emitAddress(e, form),
          ),
        evaluate: (v) => v.machine.store(addressOf(v, form), size, BigInt.asUintN(bits, v.b()), accessOf(v, "write")),
      },
    );
  }
}

for (const shift of LEA_SHIFTS) rows.push(leaRow(shift, true));

rows.push(ripRelativeRow(true));

const CANONICAL_BITS = 48;
const GENERAL_PROTECTION = 13;

for (const bits of [32, 64] as const) {
  const size = (bits / 8) as 4 | 8;
  const pushTop = (e: UopEmitter, bytes: number): void => {
    e.get("rsp");
    e.w.i64(BigInt(bytes));
    e.w.op("i64.add");
    if (bits === 32) e.w.op("i32.wrap_i64", "i64.extend_i32_u");
  };
  const top = (v: UopValues, bytes: number): bigint => zeroExtend(bits, u64(v.get("rsp") + BigInt(bytes)));
  rows.push(
    {
      name: `push${bits}`,
      summary: `${bits} bits below linear address RSP = b, then RSP is there, cut to ${bits} bits`,
      operands: ["b", "imm"],
      memory: true,
      wasm: (e) => {
        e.store(
          size,
          () => e.b(),
          () => pushTop(e, -size),
        );
        e.set("rsp", () => pushTop(e, -size));
      },
      evaluate: (v) => {
        const at = top(v, -size);
        v.machine.store(at, size, BigInt.asUintN(bits, v.b()), accessOf(v, "write"));
        v.set("rsp", at);
      },
    },
    {
      name: `pop${bits}`,
      summary: `d = ${bits} bits at linear address RSP, then RSP is past them, cut to ${bits} bits; d is not RSP`,
      operands: ["d", "imm"],
      memory: true,
      wasm: (e) => {
        e.setD(() => e.load(size, false, () => pushTop(e, 0)));
        e.set("rsp", () => pushTop(e, size));
      },
      evaluate: (v) => {
        v.setD(v.machine.load(top(v, 0), size, accessOf(v, "read")));
        v.set("rsp", top(v, size));
      },
    },
    {
      name: `ret${bits}`,
      summary: `RIP = ${bits} bits at linear address RSP, then RSP is past them${bits === 64 ? "; #GP(0) if it is not canonical" : ""}`,
      operands: ["imm"],
      memory: true,
      faults: true,
      ends: true,
      wasm: (e) => {
        const { w } = e;
        const target = e.i64(0);
        e.load(size, false, () => pushTop(e, 0));
        w.set(target);
        if (bits === 64) {
          w.get(target);
          w.i64(BigInt(64 - CANONICAL_BITS));
          w.op("i64.shl");
          w.i64(BigInt(64 - CANONICAL_BITS));
          w.op("i64.shr_s");
          w.get(target);
          w.op("i64.ne");
          w.if(() => e.raise(GENERAL_PROTECTION, 0));
        }
        e.set("rsp", () => pushTop(e, size));
        e.jump(() => w.get(target));
      },
      evaluate: (v) => {
        const target = v.machine.load(top(v, 0), size, accessOf(v, "read"));
        if (bits === 64 && signExtend(CANONICAL_BITS, target) !== target) {
          throw new GuestException(GENERAL_PROTECTION, 0);
        }
        v.set("rsp", top(v, size));
        v.set("rip", target);
      },
    },
  );
}

/** Addresses, loads and stores in one micro-operation; PUSH, POP and RET. */
export const INDEXED: readonly UopDefinition[] = rows;
