import { beforeEach, describe, expect, it } from "vitest";
import {
  CpuState,
  decode,
  evaluate,
  GuestException,
  initX87,
  liftInstruction,
  slot,
  type AccessSize,
  type CodeMode,
  type ExecutionEnvironment,
  type SlotName,
} from "../src/index.js";

const [MF, PF] = [16, 14];
const MODE64: CodeMode = { bitness: 64, stackBytes: 8, flat: false, virtual8086: false, protectedMode: true };
const MODE32: CodeMode = { bitness: 32, stackBytes: 4, flat: false, virtual8086: false, protectedMode: true };
const REAL: CodeMode = { bitness: 16, stackBytes: 2, flat: false, virtual8086: false, protectedMode: false };

const BASE = 0x1000n;
const BYTES = 256;
const ONE = 0x3fff_8000_0000_0000_0000n;
const INDEFINITE = 0xffff_c000_0000_0000_0000n;
const SIGNALLING = 0x7fff_a000_0000_0000_0000n;

/** A little memory from `BASE` on, and nothing else. */
class TestEnvironment {
  readonly state = new CpuState();
  readonly bytes = new Uint8Array(BYTES);

  #at(linear: bigint, size: number): number {
    if (linear < BASE || linear + BigInt(size) > BASE + BigInt(BYTES)) throw new GuestException(PF, 0, linear);
    return Number(linear - BASE);
  }
  load(linear: bigint, size: AccessSize): bigint {
    const at = this.#at(linear, size);
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[at + i] ?? 0);
    return value;
  }
  store(linear: bigint, size: AccessSize, value: bigint): void {
    const at = this.#at(linear, size);
    for (let i = 0; i < size; i++) this.bytes[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
  }
  probe(linear: bigint, size: number): void {
    this.#at(linear, size);
  }
}

let m: TestEnvironment;

beforeEach(() => {
  m = new TestEnvironment();
  initX87(m.state);
  for (const name of ["es", "cs", "ss", "ds", "fs", "gs"] as const) {
    m.state.setSegment(name, { selector: 8, base: 0n, limit: 0xffff_ffff, rights: name === "cs" ? 0xc09b : 0xc093 });
  }
  m.state.setGpr(7, BASE);
});

/** Execute an instruction at 400000H; the vector of what it raised. RDI (DI) is at the memory's start. */
function run(code: string, mode = MODE64): number | undefined {
  const bytes = Uint8Array.from(code.split(" "), (byte) => parseInt(byte, 16));
  const ip = mode.bitness === 16 ? 0x4000n : 0x40_0000n;
  const decoded = decode(bytes, ip, mode.bitness);
  if (decoded.kind !== "instruction") throw new Error(decoded.kind);
  m.state.set64(slot("rip"), ip);
  try {
    evaluate(liftInstruction(decoded.instruction, mode), m as unknown as ExecutionEnvironment);
    return undefined;
  } catch (error) {
    if (!(error instanceof GuestException)) throw error;
    return error.vector;
  }
}

const u16 = (name: SlotName): number => m.state.view.getUint16(slot(name), true);
const setU16 = (name: SlotName, value: number): void => m.state.view.setUint16(slot(name), value, true);
const top = (): number => (u16("fsw") >> 11) & 7;
const physical = (i: number): number => slot("st0") + ((top() + i) & 7) * 16;
const st = (i: number): bigint =>
  m.state.get64(physical(i)) | (BigInt(m.state.view.getUint16(physical(i) + 8, true)) << 64n);
const field = (offset: number, size: AccessSize): bigint => m.load(BASE + BigInt(offset), size);

/** Load values as FLD m80 does, the last one to ST(0). */
function push(...values: bigint[]): void {
  for (const value of values) {
    m.store(BASE, 8, BigInt.asUintN(64, value));
    m.store(BASE + 8n, 2, value >> 64n);
    run("db 2f");
  }
}

describe("pending exceptions", () => {
  beforeEach(() => {
    // 1 / 0 with zero divide unmasked.
    setU16("fcw", 0x37b);
    push(0n, ONE);
    expect(run("d8 f1")).toBeUndefined();
  });

  it("leave the operands, and are noted with opcode and instruction", () => {
    expect(u16("fsw") & 0x80ff).toBe(0x8084);
    expect(st(0)).toBe(ONE);
    expect([u16("fop"), m.state.get64(slot("fip"))]).toEqual([0x0f1, 0x40_0000n]);
  });

  it("are raised by the next instruction that waits, before it touches memory", () => {
    m.state.setGpr(7, 0n);
    const waiting = ["d8 07", "dd 07", "dd 1f", "db 2f", "db 3f", "d9 2f", "dd 27", "9b", "d9 d0", "db f0"];
    expect(waiting.map((code) => run(code))).toEqual(waiting.map(() => MF));
  });

  it("are not raised by FNSTSW, FNSTCW, FNSTENV, FNCLEX, FNINIT", () => {
    expect(run("df e0")).toBeUndefined();
    expect(m.state.gpr(0) & 0xffffn).toBe(BigInt(u16("fsw")));
    expect(run("d9 3f")).toBeUndefined();
    expect(run("d9 37")).toBeUndefined();
    expect(u16("fcw")).toBe(0x37f);
    // All are masked now: nothing is pending any more.
    expect(run("9b")).toBeUndefined();
    expect(run("db e2")).toBeUndefined();
    expect(u16("fsw") & 0x80ff).toBe(0);
    expect(run("db e3")).toBeUndefined();
    expect([u16("fsw"), u16("ftw")]).toEqual([0, 0]);
  });

  it("come back when FLDCW unmasks what is flagged", () => {
    run("db e2");
    setU16("fcw", 0x37f);
    expect(run("d8 f1")).toBeUndefined();
    m.store(BASE, 2, 0x37bn);
    expect(run("d9 2f")).toBeUndefined();
    expect(run("9b")).toBe(MF);
  });
});

describe("the data pointer", () => {
  it("is kept for unmasked exceptions alone, as an offset in the segment", () => {
    m.state.setSegment("fs", { selector: 0, base: 0x800n, limit: 0xffff_ffff, rights: 0xc093 });
    m.state.setGpr(7, BASE - 0x800n);
    m.store(BASE, 4, 0x7f80_0001n);
    run("64 d9 07", MODE32);
    expect([st(0), m.state.get64(slot("fdp"))]).toEqual([0x7fff_c000_0100_0000_0000n, 0n]);
    setU16("fcw", 0x37e);
    run("64 d9 07", MODE32);
    expect([u16("fop"), m.state.get64(slot("fdp"))]).toEqual([0x107, BASE - 0x800n]);
  });
});

describe("the stack", () => {
  it("overflows into the indefinite value, with SF and C1", () => {
    for (let n = 0; n < 8; n++) push(ONE);
    run("d9 e8");
    expect([st(0), u16("fsw") & 0x241, u16("ftw")]).toEqual([INDEFINITE, 0x241, 0xff]);
  });

  it("underflows into the indefinite value, with SF and without C1", () => {
    run("d8 c1");
    expect([st(0), u16("fsw") & 0x241]).toEqual([INDEFINITE, 0x41]);
  });

  it("stays as it is if the fault is not masked", () => {
    setU16("fcw", 0x37e);
    run("dd d9");
    expect([u16("fsw") & 0xb8ff, u16("ftw")]).toEqual([0x80c1, 0]);
  });
});

describe("stores to memory", () => {
  it("do nothing at all if the memory is missing", () => {
    push(ONE);
    m.state.setGpr(7, BASE + BigInt(BYTES) - 4n);
    const before = new Uint8Array(m.state.buffer.slice(slot("fcw"), slot("st7") + 16));
    expect(run("dd 1f")).toBe(PF);
    expect(run("db 3f")).toBe(PF);
    expect(run("df 37")).toBe(PF);
    expect(new Uint8Array(m.state.buffer.slice(slot("fcw"), slot("st7") + 16))).toEqual(before);
    expect(m.bytes.subarray(BYTES - 4)).toEqual(new Uint8Array(4));
  });

  it("neither store nor pop what overflows unmasked", () => {
    setU16("fcw", 0x377);
    push(0x7000_8000_0000_0000_0000n);
    m.bytes.fill(0);
    run("d9 1f");
    expect([field(0, 4), u16("ftw"), u16("fsw") & 0x80bf]).toEqual([0n, 0x80, 0x8088]);
  });

  it("convert to integers and decimals, or to the indefinite one", () => {
    push(0xc000_a000_0000_0000_0000n);
    run("db 17");
    expect(field(0, 4)).toBe(0xffff_fffen);
    run("df 37");
    expect([field(0, 8), field(8, 2)]).toEqual([2n, 0x8000n]);
    push(SIGNALLING);
    run("df 1f");
    expect([field(0, 2), u16("fsw") & 1]).toEqual([0x8000n, 1]);
  });
});

describe("the environment", () => {
  beforeEach(() => {
    push(0n, SIGNALLING, ONE);
    m.state.set64(slot("fip"), 0x12_3456n);
    m.state.set64(slot("fdp"), 0x65_4321n);
    setU16("fop", 0x5a5);
  });

  it("has fields of 32 bits, and a tag word by the values", () => {
    run("d9 37", MODE32);
    expect(Array.from({ length: 7 }, (_, n) => field(n * 4, 4))).toEqual([
      0xffff_037fn,
      0xffff_2800n,
      0xffff_63ffn,
      0x12_3456n,
      0x5a5_0000n,
      0x65_4321n,
      0xffff_0000n,
    ]);
  });

  it("has fields of 16 bits with an operand-size prefix", () => {
    run("66 d9 37", MODE32);
    expect(Array.from({ length: 8 }, (_, n) => field(n * 2, 2))).toEqual([
      0x37fn,
      0x2800n,
      0x63ffn,
      0x3456n,
      0n,
      0x4321n,
      0n,
      0n,
    ]);
  });

  it("has pointers cut in two in real mode, beside the opcode", () => {
    run("d9 35", REAL);
    expect(Array.from({ length: 7 }, (_, n) => field(n * 2, 2))).toEqual([
      0x37fn,
      0x2800n,
      0x63ffn,
      0x3456n,
      0x25a5n,
      0x4321n,
      0x5000n,
    ]);
    m.state.set64(slot("fip"), 0n);
    run("d9 25", REAL);
    expect([m.state.get64(slot("fip")), u16("fop"), u16("ftw")]).toEqual([0x2_3456n, 0x5a5, 0xe0]);
  });

  it("comes back with the registers from FRSTOR, which FNSAVE has emptied", () => {
    run("dd 37");
    expect([u16("fsw"), u16("ftw"), u16("fcw")]).toEqual([0, 0, 0x37f]);
    run("dd 27");
    expect([st(0), st(1), st(2), u16("ftw"), top()]).toEqual([ONE, SIGNALLING, 0n, 0xe0, 5]);
  });
});
