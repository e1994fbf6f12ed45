import type { MemoryAccess } from "../environment.js";
import { GuestException } from "../environment.js";
import { slot } from "../state/layout.js";
import type { MemorySize, UopDefinition, UopEmitter, UopValues } from "./definition.js";
import { u64 } from "./parts.js";

/** Flags in the high half of a memory row's constant; the low half is a signed displacement. */
export const ACCESS_FLAGS = {
  /** Made through SS: a non-canonical address is #SS. */
  STACK: 1n << 32n,
  /** A supervisor access whatever the CPL. */
  SYSTEM: 1n << 33n,
} as const;

type AccessKind = "read" | "write" | "willWrite";

const accesses = (parts: MemoryAccess): readonly MemoryAccess[] => [
  parts,
  { ...parts, stack: true },
  { ...parts, system: true },
  { ...parts, stack: true, system: true },
];

/** By the high half of the constant. */
const ACCESSES: Readonly<Record<AccessKind, readonly MemoryAccess[]>> = {
  read: accesses({ write: false }),
  write: accesses({ write: true }),
  willWrite: accesses({ write: false, willWrite: true }),
};

export const accessOf = (v: UopValues, kind: AccessKind): MemoryAccess =>
  ACCESSES[kind][Number(v.imm() >> 32n) & 3] as MemoryAccess;

const linearOf = (v: UopValues): bigint => u64(v.a() + BigInt.asIntN(32, v.imm()));

const rows: UopDefinition[] = [];

for (const size of [1, 2, 4, 8, 16] as const satisfies readonly MemorySize[]) {
  const bits = size * 8;
  for (const willWrite of [false, true]) {
    rows.push({
      name: `ld${bits}${willWrite ? "w" : ""}`,
      summary:
        `d = ${bits} bits at linear address a + low half of imm, zero-extended` +
        (willWrite ? "; takes write permission for the store that follows" : ""),
      operands: ["d", "a", "imm"],
      memory: true,
      wasm: (e) => {
        const store = (): void => e.load(size, willWrite);
        if (size === 16) e.setVD(store);
        else e.setD(store);
      },
      evaluate: (v) => {
        const value = v.machine.load(linearOf(v), size, accessOf(v, willWrite ? "willWrite" : "read"));
        if (size === 16) v.setVD(value);
        else v.setD(value);
      },
    });
  }
  rows.push({
    name: `st${bits}`,
    summary: `${bits} bits at linear address a + low half of imm = b`,
    operands: ["a", "b", "imm"],
    memory: true,
    wasm: (e) => e.store(size, () => (size === 16 ? e.vb() : e.b())),
    evaluate: (v) => {
      const value = size === 16 ? v.vb() : BigInt.asUintN(bits, v.b());
      v.machine.store(linearOf(v), size, value, accessOf(v, "write"));
    },
  });
}

const SS_BASE = slot("ss.base");
const FAULT = { SS: 12, GP: 13 } as const;

/** Operands of 128 bits must be aligned, but for those of instructions that say otherwise (SDM vol. 1, "Data Types"). */
function emitAlignmentCheck(e: UopEmitter): void {
  const { w } = e;
  e.a();
  w.op("i32.wrap_i64");
  e.immLow();
  w.op("i32.wrap_i64", "i32.add");
  w.i32(15);
  w.op("i32.and");
  w.if(() => e.raise(FAULT.GP, 0));
}

function checkAlignment(v: UopValues): void {
  if ((linearOf(v) & 15n) !== 0n) throw new GuestException(FAULT.GP, 0);
}

rows.push(
  {
    name: "ld128a",
    summary: "ld128; #GP(0) unless aligned to 16 bytes",
    operands: ["d", "a", "imm"],
    memory: true,
    outlined: true,
    wasm: (e) => {
      emitAlignmentCheck(e);
      e.setVD(() => e.load(16, false));
    },
    evaluate: (v) => {
      checkAlignment(v);
      v.setVD(v.machine.load(linearOf(v), 16, accessOf(v, "read")));
    },
  },
  {
    name: "st128a",
    summary: "st128; #GP(0) unless aligned to 16 bytes",
    operands: ["a", "b", "imm"],
    memory: true,
    outlined: true,
    wasm: (e) => {
      emitAlignmentCheck(e);
      e.store(16, () => e.vb());
    },
    evaluate: (v) => {
      checkAlignment(v);
      v.machine.store(linearOf(v), 16, v.vb(), accessOf(v, "write"));
    },
  },
);

/** Access-rights bits (SDM vol. 3, "Guest Register State"). */
const RIGHTS = {
  WRITABLE_OR_READABLE: 1 << 1,
  EXPAND_DOWN: 1 << 2,
  CODE: 1 << 3,
  NON_SYSTEM: 1 << 4,
  BIG: 1 << 14,
  UNUSABLE: 1 << 16,
} as const;

for (const write of [false, true]) {
  const typeMask = RIGHTS.WRITABLE_OR_READABLE | RIGHTS.CODE | RIGHTS.NON_SYSTEM | RIGHTS.UNUSABLE;
  const writable = RIGHTS.NON_SYSTEM | RIGHTS.WRITABLE_OR_READABLE;
  rows.push({
    name: write ? "segw" : "segr",
    summary:
      `d = linear address of ${write ? "a write" : "a read"} at offset a of imm bytes in the segment whose base field n names, ` +
      "32-bit; #GP or #SS beyond limit or rights",
    operands: ["d", "a", "n", "imm"],
    faults: true,
    wasm: (e) => {
      const { w } = e;
      const [rights, offset, last, limit] = [e.i32(0), e.i64(0), e.i64(1), e.i64(2)];
      e.a();
      w.tee(offset);
      e.imm();
      w.op("i64.add");
      w.i64(1n);
      w.op("i64.sub");
      w.set(last);
      e.field(() => e.n(), "i32.load", 12);
      w.set(rights);
      e.field(() => e.n(), "i32.load", 8);
      w.op("i64.extend_i32_u");
      w.set(limit);
      // Rights: a write needs a writable data segment; a read refuses code that is not readable.
      w.get(rights);
      if (write) {
        w.i32(typeMask);
        w.op("i32.and");
        w.i32(writable);
        w.op("i32.ne");
      } else {
        w.i32(RIGHTS.NON_SYSTEM | RIGHTS.UNUSABLE);
        w.op("i32.and");
        w.i32(RIGHTS.NON_SYSTEM);
        w.op("i32.ne");
        w.get(rights);
        w.i32(RIGHTS.CODE | RIGHTS.WRITABLE_OR_READABLE);
        w.op("i32.and");
        w.i32(RIGHTS.CODE);
        w.op("i32.eq", "i32.or");
      }
      // Limit: offsets up to it, or above it in an expand-down data segment.
      w.get(rights);
      w.i32(RIGHTS.CODE | RIGHTS.EXPAND_DOWN);
      w.op("i32.and");
      w.i32(RIGHTS.EXPAND_DOWN);
      w.op("i32.eq");
      w.if(
        () => {
          w.get(offset);
          w.get(limit);
          w.op("i64.le_u");
          w.get(last);
          w.i64(0xffff_ffffn);
          w.i64(0xffffn);
          w.get(rights);
          w.i32(RIGHTS.BIG);
          w.op("i32.and", "select", "i64.gt_u", "i32.or");
        },
        () => {
          w.get(last);
          w.get(limit);
          w.op("i64.gt_u");
        },
        "i32",
      );
      w.op("i32.or");
      w.if(() =>
        e.raiseDynamic(() => {
          w.i32(FAULT.SS | (1 << 31));
          w.i32(FAULT.GP | (1 << 31));
          e.n();
          w.i32(SS_BASE);
          w.op("i32.eq", "select");
        }),
      );
      e.setD(() => {
        e.field(() => e.n(), "i64.load");
        w.get(offset);
        w.op("i64.add", "i32.wrap_i64", "i64.extend_i32_u");
      });
    },
    evaluate: (v) => {
      const state = v.machine.state;
      const at = v.n();
      const limit = BigInt(state.get32(at + 8));
      const rights = state.get32(at + 12);
      const offset = v.a();
      const last = u64(offset + v.imm() - 1n);
      const bad = write
        ? (rights & typeMask) !== writable
        : (rights & (RIGHTS.NON_SYSTEM | RIGHTS.UNUSABLE)) !== RIGHTS.NON_SYSTEM ||
          (rights & (RIGHTS.CODE | RIGHTS.WRITABLE_OR_READABLE)) === RIGHTS.CODE;
      const expandDown = (rights & (RIGHTS.CODE | RIGHTS.EXPAND_DOWN)) === RIGHTS.EXPAND_DOWN;
      const beyond = expandDown
        ? offset <= limit || last > ((rights & RIGHTS.BIG) !== 0 ? 0xffff_ffffn : 0xffffn)
        : last > limit;
      if (bad || beyond) throw new GuestException(at === SS_BASE ? FAULT.SS : FAULT.GP, 0);
      v.setD(BigInt.asUintN(32, state.get64(at) + offset));
    },
  });
}

/** Loads, stores, segment checks. */
export const MEMORY: readonly UopDefinition[] = rows;
