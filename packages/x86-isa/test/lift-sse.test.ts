import { beforeEach, describe, expect, it } from "vitest";
import {
  CR4,
  decode,
  evaluate,
  GuestException,
  liftInstruction,
  MXCSR_RESET,
  slot,
  type CodeMode,
} from "../src/index.js";
import { DATA_START } from "./vectors/layout.js";
import { VectorEnvironment } from "./vectors/environment.js";

const MODE: CodeMode = { bitness: 64, stackBytes: 8, flat: true, virtual8086: false, protectedMode: true };
const RAX = 0;
const [XMM0, XMM1, MXCSR] = [slot("xmm0"), slot("xmm1"), slot("mxcsr")];
const DATA = BigInt(DATA_START);

const view = new DataView(new ArrayBuffer(8));
const double = (value: number): bigint => (view.setFloat64(0, value), view.getBigUint64(0));
const singles = (low: number, high: number): bigint => (
  view.setFloat32(4, low),
  view.setFloat32(0, high),
  view.getBigUint64(0)
);
const DENORMAL = 1n;

let machine: VectorEnvironment;

beforeEach(() => {
  machine = new VectorEnvironment();
  machine.state.rflags = 2n;
  machine.state.set32(MXCSR, MXCSR_RESET);
  machine.state.set64(slot("cr4"), CR4.OSFXSR | CR4.OSXMMEXCPT);
  machine.state.setGpr(RAX, DATA);
});

function execute(code: string): string | undefined {
  const bytes = Uint8Array.from(code.split(" "), (byte) => parseInt(byte, 16));
  const decoded = decode(bytes, 0x1000n, 64);
  if (decoded.kind !== "instruction") throw new Error(`${code}: ${decoded.kind}`);
  try {
    evaluate(liftInstruction(decoded.instruction, MODE), machine);
    return undefined;
  } catch (fault) {
    if (!(fault instanceof GuestException)) throw fault;
    return fault.errorCode === undefined ? `${fault.vector}` : `${fault.vector}(${fault.errorCode})`;
  }
}

const put = (at: number, low: bigint, high = 0n): void => {
  machine.state.set64(at, low);
  machine.state.set64(at + 8, high);
};
const vector = (at: number): [low: bigint, high: bigint] => [machine.state.get64(at), machine.state.get64(at + 8)];
const store = (offset: bigint, value: bigint): void => machine.store(DATA + offset, 8, value, { write: true });

const ADDSD = "f2 0f 58 c1";
const DIVPD = "66 0f 5e c1";
const ADDPS_MEMORY = "0f 58 00";
const LDMXCSR = "0f ae 10";
const STMXCSR = "0f ae 18";

describe("an unmasked floating-point exception", () => {
  beforeEach(() => {
    put(XMM0, double(1), 7n);
    put(XMM1, double(0), DENORMAL);
    machine.state.set32(MXCSR, MXCSR_RESET & ~0x200);
  });

  it("raises #XM, and leaves the flag and the destination as it was", () => {
    expect(execute(DIVPD)).toBe("19");
    expect(vector(XMM0)).toEqual([double(1), 7n]);
    // The denormal operands of the other numbers are noted too, results that nobody sees are not.
    expect(machine.state.get32(MXCSR) & 0x3f).toBe(0x6);
  });

  it("raises #UD without CR4.OSXMMEXCPT", () => {
    machine.state.set64(slot("cr4"), CR4.OSFXSR);
    expect(execute(DIVPD)).toBe("6");
  });

  it("raises nothing for a flag that was set before", () => {
    machine.state.set32(MXCSR, (MXCSR_RESET & ~0x200) | 4);
    expect(execute(ADDSD)).toBe(undefined);
  });
});

describe("scalar forms", () => {
  it("keep the upper part of the destination", () => {
    put(XMM0, singles(1.5, 9), 7n);
    put(XMM1, singles(2.25, 8), 6n);
    expect(execute("f3 0f 58 c1")).toBe(undefined);
    expect(vector(XMM0)).toEqual([singles(3.75, 9), 7n]);
  });

  it("need no aligned memory", () => {
    store(3n, double(0.5));
    put(XMM0, double(1), 7n);
    expect(execute("f2 0f 58 40 03")).toBe(undefined);
    expect(vector(XMM0)).toEqual([double(1.5), 7n]);
  });
});

describe("packed forms", () => {
  it("need memory aligned to 16 bytes", () => {
    machine.state.setGpr(RAX, DATA + 8n);
    expect(execute(ADDPS_MEMORY)).toBe("13(0)");
  });

  it("convert from memory of 8 bytes without alignment", () => {
    machine.state.setGpr(RAX, DATA + 4n);
    store(4n, singles(1.5, -2));
    expect(execute("0f 5a 00")).toBe(undefined);
    expect(vector(XMM0)).toEqual([double(1.5), double(-2)]);
  });

  it("clear the upper half of what is shorter than its operand", () => {
    put(XMM1, double(2.5), double(-7.5));
    put(XMM0, 1n, 2n);
    expect(execute("f2 0f e6 c1")).toBe(undefined);
    expect(vector(XMM0)).toEqual([0xffff_fff8_0000_0002n, 0n]);
  });
});

describe("comparisons", () => {
  it("look at three bits of the predicate", () => {
    put(XMM0, double(1), 5n);
    put(XMM1, double(2), 5n);
    expect(execute("f2 0f c2 c1 f9")).toBe(undefined);
    expect(vector(XMM0)).toEqual([0xffff_ffff_ffff_ffffn, 5n]);
  });

  it("set ZF, PF and CF for numbers that are not ordered", () => {
    machine.state.rflags = 0x8d7n;
    put(XMM0, double(NaN));
    expect(execute("66 0f 2e c1")).toBe(undefined);
    expect(machine.state.rflags).toBe(0x47n);
    expect(machine.state.get32(MXCSR)).toBe(MXCSR_RESET);
    execute("66 0f 2f c1");
    expect(machine.state.get32(MXCSR)).toBe(MXCSR_RESET | 1);
  });
});

describe("MXCSR", () => {
  it("refuses reserved bits and stays as it was", () => {
    store(0n, 0x1_1f80n);
    expect(execute(LDMXCSR)).toBe("13(0)");
    expect(machine.state.get32(MXCSR)).toBe(MXCSR_RESET);
  });

  it("is loaded and stored as 32 bits", () => {
    store(0n, 0xdead_beef_0000_ffc0n);
    expect(execute(LDMXCSR)).toBe(undefined);
    store(0n, 0x1111_1111_2222_2222n);
    expect(execute(STMXCSR)).toBe(undefined);
    expect(machine.load(DATA, 8, { write: false })).toBe(0x1111_1111_0000_ffc0n);
  });
});

describe("integers", () => {
  it("come from and go to the width that REX.W says", () => {
    machine.state.setGpr(RAX, 0xffff_ffff_ffff_fffdn);
    execute("f2 48 0f 2a c0");
    expect(vector(XMM0)).toEqual([double(-3), 0n]);
    machine.state.setGpr(RAX, 0xffff_ffff_0000_0005n);
    execute("f2 0f 2a c0");
    expect(vector(XMM0)).toEqual([double(5), 0n]);
    put(XMM0, double(-2.5));
    execute("f2 0f 2c c0");
    expect(machine.state.gpr(RAX)).toBe(0xffff_fffen);
    put(XMM0, double(2 ** 40));
    execute("f2 0f 2c c0");
    expect(machine.state.gpr(RAX)).toBe(0x8000_0000n);
    execute("f2 48 0f 2c c0");
    expect(machine.state.gpr(RAX)).toBe(1n << 40n);
  });
});
