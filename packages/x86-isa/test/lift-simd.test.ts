import { beforeEach, describe, expect, it } from "vitest";
import {
  CpuState,
  decode,
  evaluate,
  GuestException,
  liftInstruction,
  slot,
  type AccessSize,
  type CodeMode,
  type ExecutionEnvironment,
  type SlotName,
} from "../src/index.js";

const MODE: CodeMode = { bitness: 64, stackBytes: 8, flat: true, virtual8086: false, protectedMode: true };
const MEMORY_BYTES = 64;

let state: CpuState;
let memory: bigint;

/** 64 bytes of memory from address 0 on; beyond them is a page fault. */
const machine = {
  get state() {
    return state;
  },
  load(linear: bigint, size: AccessSize): bigint {
    if (linear + BigInt(size) > MEMORY_BYTES) throw new GuestException(14, 4, linear);
    return BigInt.asUintN(size * 8, memory >> (linear * 8n));
  },
  store(linear: bigint, size: AccessSize, value: bigint): void {
    if (linear + BigInt(size) > MEMORY_BYTES) throw new GuestException(14, 6, linear);
    const mask = ((1n << BigInt(size * 8)) - 1n) << (linear * 8n);
    memory = (memory & ~mask) | (value << (linear * 8n));
  },
} as unknown as ExecutionEnvironment;

/** Execute one instruction; what it raised, as `vector` or `vector(error code)`. */
function execute(code: string): string | undefined {
  const decoded = decode(
    Uint8Array.from(code.split(" "), (byte) => parseInt(byte, 16)),
    0x1000n,
    64,
  );
  if (decoded.kind !== "instruction") throw new Error(`${code}: ${decoded.kind}`);
  const block = liftInstruction(decoded.instruction, MODE);
  if (block.missing !== undefined) throw new Error(`${block.missing} has not been written`);
  try {
    evaluate(block, machine);
    return undefined;
  } catch (fault) {
    if (!(fault instanceof GuestException)) throw fault;
    return fault.errorCode === undefined ? `${fault.vector}` : `${fault.vector}(${fault.errorCode})`;
  }
}

const vector = (name: SlotName): bigint => state.get64(slot(name)) | (state.get64(slot(name) + 8) << 64n);
function setVector(name: SlotName, value: bigint): void {
  state.set64(slot(name), BigInt.asUintN(64, value));
  state.set64(slot(name) + 8, value >> 64n);
}
const word = (name: SlotName): number => state.view.getUint16(slot(name), true);

const A = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100n;
const ONES = (1n << 128n) - 1n;

beforeEach(() => {
  state = new CpuState();
  memory = (A << 256n) | (A << 128n) | A;
});

describe("an operand of 16 bytes in memory", () => {
  it("must be aligned", () => {
    state.setGpr(3, 1n);
    setVector("xmm0", ONES);
    const before = memory;
    expect(execute("0f 28 03")).toBe("13(0)"); // movaps xmm0, [rbx]
    expect(execute("66 0f ef 03")).toBe("13(0)"); // pxor xmm0, [rbx]
    expect(execute("66 0f e7 03")).toBe("13(0)"); // movntdq [rbx], xmm0
    expect(vector("xmm0")).toBe(ONES);
    expect(memory).toBe(before);
  });

  it("is refused for its alignment before its page is looked at", () => {
    state.setGpr(3, 0x1001n);
    expect(execute("66 0f ef 03")).toBe("13(0)");
    state.setGpr(3, 0x1000n);
    expect(execute("66 0f ef 03")).toBe("14(4)");
  });

  it("may lie anywhere for MOVUPS, MOVDQU and LDDQU", () => {
    state.setGpr(3, 1n);
    for (const load of ["0f 10 03", "66 0f 10 03", "f3 0f 6f 03", "f2 0f f0 03"]) {
      setVector("xmm0", 0n);
      expect(execute(load)).toBeUndefined();
      expect(vector("xmm0")).toBe(A >> 8n);
    }
    setVector("xmm0", ONES);
    expect(execute("0f 11 03")).toBeUndefined(); // movups [rbx], xmm0
    expect(BigInt.asUintN(128 + 16, memory)).toBe((0x01n << 136n) | (ONES << 8n));
  });
});

describe("a part of a register", () => {
  it("keeps the rest in a move between registers, and clears it in a move from memory", () => {
    setVector("xmm0", ONES);
    setVector("xmm1", A);
    expect(execute("f3 0f 10 c1")).toBeUndefined(); // movss xmm0, xmm1
    expect(vector("xmm0")).toBe((ONES & ~0xffff_ffffn) | 0x0302_0100n);
    expect(execute("f2 0f 10 03")).toBeUndefined(); // movsd xmm0, [rbx]
    expect(vector("xmm0")).toBe(0x0706_0504_0302_0100n);
  });

  it("is the half that MOVHPS names", () => {
    state.setGpr(3, 8n);
    setVector("xmm0", ONES);
    expect(execute("0f 16 03")).toBeUndefined(); // movhps xmm0, [rbx]
    expect(vector("xmm0")).toBe((0x0f0e_0d0c_0b0a_0908n << 64n) | (ONES >> 64n));
  });
});

describe("shifts", () => {
  it("take the whole count of 64 bits, and shift everything out by one that is too large", () => {
    setVector("xmm0", ONES);
    setVector("xmm1", 1n << 32n);
    expect(execute("66 0f d1 c1")).toBeUndefined(); // psrlw xmm0, xmm1
    expect(vector("xmm0")).toBe(0n);
    setVector("xmm0", 0x8000n);
    expect(execute("66 0f e1 c1")).toBeUndefined(); // psraw xmm0, xmm1
    expect(vector("xmm0")).toBe(0xffffn);
  });

  it("ignore bits 127:64 of the count", () => {
    setVector("xmm0", 2n);
    setVector("xmm1", (1n << 64n) | 1n);
    expect(execute("66 0f d3 c1")).toBeUndefined(); // psrlq xmm0, xmm1
    expect(vector("xmm0")).toBe(1n);
  });
});

describe("MMX instructions", () => {
  beforeEach(() => {
    state.view.setUint16(slot("fsw"), 5 << 11, true);
    state.view.setUint16(slot("ftw"), 0, true);
  });

  it("write the significand of an x87 register, and ones above it", () => {
    setVector("st1", 0x0102_0304_0506_0708n);
    expect(execute("0f fc c1")).toBeUndefined(); // paddb mm0, mm1
    expect(vector("st0")).toBe((0xffffn << 64n) | 0x0102_0304_0506_0708n);
    expect(vector("st1")).toBe(0x0102_0304_0506_0708n);
  });

  it.each([
    ["paddb mm0, mm1", "0f fc c1"],
    ["movq [rbx], mm0", "0f 7f 03"],
    ["movd eax, mm0", "0f 7e c0"],
    ["pmovmskb eax, mm0", "0f d7 c0"],
    ["movq2dq xmm0, mm0", "f3 0f d6 c0"],
    ["maskmovq mm0, mm1", "0f f7 c1"],
  ])("make the x87 stack full with its top at 0: %s", (_, code) => {
    expect(execute(code)).toBeUndefined();
    expect(word("fsw")).toBe(0);
    expect(word("ftw")).toBe(0xff);
  });

  it("leave it empty after EMMS", () => {
    expect(execute("0f fc c1")).toBeUndefined();
    expect(execute("0f 77")).toBeUndefined();
    expect(word("ftw")).toBe(0);
  });

  it("raise a pending x87 exception before they touch memory", () => {
    state.view.setUint16(slot("fsw"), 0x8081, true);
    state.setGpr(3, 0x1000n);
    for (const code of ["0f fc 03", "0f 7f 03", "0f 77", "0f 6e c0", "0f c5 c1 00"]) {
      expect(execute(code)).toBe("16");
    }
    expect(word("fsw")).toBe(0x8081);
    expect(word("ftw")).toBe(0);
  });

  it("change nothing when their operand in memory faults", () => {
    state.setGpr(3, 0x1000n);
    expect(execute("0f fc 03")).toBe("14(4)"); // paddb mm0, [rbx]
    expect(execute("0f 7f 03")).toBe("14(6)"); // movq [rbx], mm0
    expect(word("fsw")).toBe(5 << 11);
    expect(word("ftw")).toBe(0);
  });

  it("work on what SSE has in its low half, where elements move", () => {
    const [a, b] = [0x0706_0504_0302_0100n, 0x1716_1514_1312_1110n];
    const run = (code: string): bigint => {
      setVector("st0", a | (0xffffn << 64n));
      setVector("st1", b | (0x1234n << 64n));
      expect(execute(code)).toBeUndefined();
      return state.get64(slot("st0"));
    };
    expect(run("0f 68 c1")).toBe(0x1707_1606_1505_1404n); // punpckhbw mm0, mm1
    expect(run("0f 63 c1")).toBe(0x7f7f_7f7f_7f7f_7f7fn); // packsswb mm0, mm1
    expect(run("0f 67 c1")).toBe(0xffff_ffff_ffff_ffffn); // packuswb mm0, mm1
    expect(run("0f 38 01 c1")).toBe(0x2c2a_2422_0c0a_0402n); // phaddw mm0, mm1
    expect(run("0f 38 00 c1")).toBe(0x0706_0504_0302_0100n); // pshufb mm0, mm1
    expect(run("0f 3a 0f c1 03")).toBe(0x0201_0017_1615_1413n); // palignr mm0, mm1, 3
    expect(run("0f 70 c1 1b")).toBe(0x1110_1312_1514_1716n); // pshufw mm0, mm1, 0x1b
  });
});

describe("a masked store", () => {
  it("writes the bytes whose mask is negative", () => {
    state.setGpr(7, 3n);
    setVector("xmm0", ONES);
    setVector("xmm1", 0x80_0000_0000_0000_0000_0000_0000_0080n);
    expect(execute("66 0f f7 c1")).toBeUndefined(); // maskmovdqu xmm0, xmm1
    expect(BigInt.asUintN(256, memory)).toBe(BigInt.asUintN(256, (A << 128n) | A) | (0xffn << 24n) | (0xffn << 136n));
  });
});
