import { beforeEach, describe, expect, it } from "vitest";
import {
  decode,
  evaluate,
  GuestException,
  InstructionStream,
  liftBlock,
  liftInstruction,
  slot,
  uopDefinition,
  type CodeMode,
  type SegmentName,
} from "../src/index.js";
import { DATA_START, WINDOW } from "./vectors/layout.js";
import { VectorEnvironment } from "./vectors/environment.js";

const hex = (text: string): Uint8Array => Uint8Array.from(text.split(" "), (byte) => parseInt(byte, 16));

const MODE64: CodeMode = { bitness: 64, stackBytes: 8, flat: false, virtual8086: false, protectedMode: true };
const MODE32: CodeMode = { bitness: 32, stackBytes: 4, flat: false, virtual8086: false, protectedMode: true };
const MODE16: CodeMode = { bitness: 16, stackBytes: 2, flat: false, virtual8086: false, protectedMode: false };

const CODE_RIGHTS = 0x9b;
const DATA_RIGHTS = 0x93;
const READ_ONLY = 0x91;
const EXPAND_DOWN = 0x97;
const EXECUTE_ONLY = 0x99;
const UNUSABLE = 0x1_0000;
const BIG = 0x4000;

const [RAX, RCX, RBX, RSP, RBP, RSI, RDI] = [0, 1, 3, 4, 5, 6, 7] as const;

let machine: VectorEnvironment;

function segment(name: SegmentName, base: number, limit: number, rights: number): void {
  machine.state.setSegment(name, { selector: 8, base: BigInt(base), limit, rights });
}

beforeEach(() => {
  machine = new VectorEnvironment();
  machine.state.rflags = 2n;
  for (const name of ["es", "ss", "ds", "fs", "gs"] as const) segment(name, 0, 0xffff_ffff, DATA_RIGHTS | BIG);
  segment("cs", 0, 0xffff_ffff, CODE_RIGHTS | BIG);
});

/** Execute one instruction at `ip`; what it raised, as `vector` or `vector(error code)`. */
function execute(code: string, mode: CodeMode, ip = 0x1000n): string | undefined {
  const decoded = decode(hex(code), ip, mode.bitness);
  if (decoded.kind !== "instruction") throw new Error(`${code}: ${decoded.kind}`);
  machine.state.set64(slot("rip"), ip);
  try {
    evaluate(liftInstruction(decoded.instruction, mode), machine);
    return undefined;
  } catch (fault) {
    if (!(fault instanceof GuestException)) throw fault;
    return fault.errorCode === undefined ? `${fault.vector}` : `${fault.vector}(${fault.errorCode})`;
  }
}

const gpr = (index: number): bigint => machine.state.gpr(index);
const rip = (): bigint => machine.state.get64(slot("rip"));

function poke(address: number, value: bigint, bytes: 1 | 2 | 4 | 8): void {
  machine.store(BigInt(address), bytes, value, { write: true });
}
const peek = (address: number, bytes: 1 | 2 | 4 | 8): bigint => machine.load(BigInt(address), bytes, { write: false });

describe("segments outside 64-bit mode", () => {
  it("add their base, and wrap at 4 GiB", () => {
    segment("ds", 0x2000, 0xffff_ffff, DATA_RIGHTS | BIG);
    poke(WINDOW + 8, 0x1234_5678n, 4);
    machine.state.setGpr(RBX, 8n);
    expect(execute("8b 03", MODE32)).toBeUndefined(); // mov eax, [ebx]
    expect(gpr(RAX)).toBe(0x1234_5678n);
    segment("ds", 0xffff_f000, 0xffff_ffff, DATA_RIGHTS | BIG);
    machine.state.setGpr(RBX, 0x3008n);
    machine.state.setGpr(RAX, 0n);
    expect(execute("8b 03", MODE32)).toBeUndefined();
    expect(gpr(RAX)).toBe(0x1234_5678n);
  });

  it("raise #GP beyond their limit, and #SS through SS", () => {
    segment("ds", 0, WINDOW + 3, DATA_RIGHTS | BIG);
    segment("ss", 0, WINDOW + 3, DATA_RIGHTS | BIG);
    machine.state.setGpr(RBX, BigInt(WINDOW));
    machine.state.setGpr(RBP, BigInt(WINDOW));
    expect(execute("8b 03", MODE32)).toBeUndefined(); // mov eax, [ebx]
    expect(execute("8b 43 01", MODE32)).toBe("13(0)"); // mov eax, [ebx+1]
    expect(execute("8b 45 01", MODE32)).toBe("12(0)"); // mov eax, [ebp+1]
    expect(execute("8a 43 03", MODE32)).toBeUndefined(); // mov al, [ebx+3]
  });

  it("refuse what their type does not permit", () => {
    machine.state.setGpr(RBX, BigInt(WINDOW));
    segment("ds", 0, 0xffff_ffff, READ_ONLY | BIG);
    expect(execute("8b 03", MODE32)).toBeUndefined();
    expect(execute("89 03", MODE32)).toBe("13(0)"); // mov [ebx], eax
    expect(execute("01 03", MODE32)).toBe("13(0)"); // add [ebx], eax
    segment("ds", 0, 0xffff_ffff, EXECUTE_ONLY | BIG);
    expect(execute("8b 03", MODE32)).toBe("13(0)");
    segment("ds", 0, 0xffff_ffff, UNUSABLE);
    expect(execute("8b 03", MODE32)).toBe("13(0)");
  });

  it("reach above their limit if they expand down", () => {
    segment("ds", 0, WINDOW - 1, EXPAND_DOWN | BIG);
    machine.state.setGpr(RBX, BigInt(WINDOW));
    expect(execute("8b 03", MODE32)).toBeUndefined();
    expect(execute("8b 43 ff", MODE32)).toBe("13(0)"); // mov eax, [ebx-1]
    segment("ds", 0, WINDOW - 1, EXPAND_DOWN);
    machine.state.setGpr(RBX, 0xfffdn);
    expect(execute("8b 03", MODE32)).toBe("13(0)");
  });

  it("are checked at the far end of a jump", () => {
    segment("cs", 0, 0x1fff, CODE_RIGHTS);
    expect(execute("66 e9 00 10 00 00", { ...MODE16, protectedMode: true })).toBe("13(0)"); // jmp $+0x1006
    expect(rip()).toBe(0x1000n);
    expect(execute("e9 00 08", { ...MODE16, protectedMode: true })).toBeUndefined();
    expect(rip()).toBe(0x1803n);
  });
});

describe("64-bit mode", () => {
  it("adds the bases of FS and GS and of no other segment", () => {
    segment("ds", 0x5000, 0, UNUSABLE);
    segment("gs", WINDOW, 0, UNUSABLE);
    poke(WINDOW + 16, 0xabcdn, 8);
    machine.state.setGpr(RBX, 16n);
    expect(execute("65 48 8b 03", MODE64)).toBeUndefined(); // mov rax, gs:[rbx]
    expect(gpr(RAX)).toBe(0xabcdn);
    machine.state.setGpr(RBX, BigInt(WINDOW + 16));
    machine.state.setGpr(RAX, 0n);
    expect(execute("48 8b 03", MODE64)).toBeUndefined();
    expect(gpr(RAX)).toBe(0xabcdn);
  });

  it("cuts an address of 32 bits before it adds the base", () => {
    segment("gs", 0, 0, UNUSABLE);
    machine.state.setGpr(RBX, 0x1_0000_0000n + BigInt(WINDOW) - 4n);
    poke(WINDOW, 0x77n, 1);
    expect(execute("67 8a 43 04", MODE64)).toBeUndefined(); // mov al, [ebx+4]
    expect(gpr(RAX)).toBe(0x77n);
  });

  it("raises #GP for a call to an address that is not canonical, and pushes nothing", () => {
    machine.state.setGpr(RSP, BigInt(WINDOW + 64));
    machine.state.setGpr(RAX, 0x8000_0000_0000n);
    expect(execute("ff d0", MODE64)).toBe("13(0)"); // call rax
    expect(gpr(RSP)).toBe(BigInt(WINDOW + 64));
    expect(peek(WINDOW + 56, 8)).toBe(0n);
  });

  it("raises #SS for a stack that is not canonical", () => {
    machine.state.setGpr(RSP, 0x8000_0000_0000n + 8n);
    expect(execute("50", MODE64)).toBe("12(0)"); // push rax
  });

  it("keeps the operand size of near branches at 64 bits, whatever the prefix", () => {
    expect(execute("66 e9 00 01 00 00", MODE64)).toBeUndefined();
    expect(rip()).toBe(0x1106n);
  });
});

describe("a stack of 16 bits", () => {
  it("wraps within 64 KiB and leaves the upper half of ESP alone", () => {
    segment("ss", WINDOW - 0xf000, 0xffff, DATA_RIGHTS);
    machine.state.setGpr(RSP, 0xdead_f002n);
    machine.state.setGpr(RAX, 0x1234n);
    expect(execute("50", MODE16)).toBeUndefined(); // push ax
    expect(gpr(RSP)).toBe(0xdead_f000n);
    expect(peek(WINDOW, 2)).toBe(0x1234n);
    expect(execute("5b", MODE16)).toBeUndefined(); // pop bx
    expect(gpr(RBX)).toBe(0x1234n);
    expect(gpr(RSP)).toBe(0xdead_f002n);
    segment("ss", WINDOW - 0xfff0, 0xffff, DATA_RIGHTS);
    machine.state.setGpr(RSP, 0xdead_0000n);
    expect(execute("50", MODE16)).toBeUndefined();
    expect(gpr(RSP)).toBe(0xdead_fffen);
  });

  it("is used by 32-bit code too, if SS says so", () => {
    segment("ss", 0, 0xffff, DATA_RIGHTS);
    machine.state.setGpr(RSP, 0xdead_0000n + BigInt(WINDOW + 4));
    machine.state.setGpr(RAX, 0x1234_5678n);
    expect(execute("50", { ...MODE32, stackBytes: 2 })).toBeUndefined(); // push eax
    expect(peek(WINDOW, 4)).toBe(0x1234_5678n);
    expect(gpr(RSP)).toBe(0xdead_0000n + BigInt(WINDOW));
  });
});

describe("addresses of 16 bits", () => {
  it("wrap within 64 KiB", () => {
    poke(WINDOW, 0x55n, 1);
    machine.state.setGpr(RBX, 0xffff_f000n);
    machine.state.setGpr(RSI, BigInt(WINDOW + 0x1000));
    expect(execute("8a 00", MODE16)).toBeUndefined(); // mov al, [bx+si]
    expect(gpr(RAX)).toBe(0x55n);
  });
});

describe("an instruction that faults", () => {
  it("leaves registers and flags as they were, wherever it fails", () => {
    machine.state.rflags = 0x8d7n;
    const before = Array.from({ length: 16 }, (_, i) => BigInt(WINDOW + i * 16));
    const nowhere = 0x10_0000n;
    const faulting: readonly (readonly [code: string, register: number])[] = [
      ["48 a5", RDI], // movsq: the store
      ["48 a7", RDI], // cmpsq: the second load
      ["48 01 03", RBX], // add [rbx], rax
      ["8f 03", RBX], // pop [rbx]
      ["48 87 03", RBX], // xchg [rbx], rax
      ["48 0f c1 03", RBX], // xadd [rbx], rax
      ["f3 48 ab", RDI], // rep stosq
      ["c9", RBP], // leave
      ["c8 10 00 02", RBP], // enter 16, 2: the frame pointer that it copies
      ["ff 33", RBX], // push [rbx]
    ];
    for (const [code, register] of faulting) {
      before.forEach((value, i) => {
        machine.state.setGpr(i, i === register ? nowhere : value);
      });
      expect(execute(code, MODE64), code).toMatch(/^14/);
      expect(
        before.map((_, i) => gpr(i)),
        code,
      ).toEqual(before.map((value, i) => (i === register ? nowhere : value)));
      expect(machine.state.rflags, code).toBe(0x8d7n);
      expect(rip(), code).toBe(0x1000n);
    }
  });
});

describe("string instructions", () => {
  it("touch nothing if the count is zero", () => {
    machine.state.setGpr(RCX, 0n);
    machine.state.setGpr(RDI, 0x10_0000n);
    expect(execute("f3 aa", MODE64)).toBeUndefined(); // rep stosb
    expect(rip()).toBe(0x1002n);
  });

  it("do one element at a time, and stay at themselves until the last", () => {
    machine.state.setGpr(RCX, 2n);
    machine.state.setGpr(RAX, 0x5an);
    machine.state.setGpr(RDI, BigInt(WINDOW));
    execute("f3 aa", MODE64);
    expect([rip(), gpr(RCX), gpr(RDI)]).toEqual([0x1000n, 1n, BigInt(WINDOW + 1)]);
    execute("f3 aa", MODE64);
    expect([rip(), gpr(RCX), gpr(RDI)]).toEqual([0x1002n, 0n, BigInt(WINDOW + 2)]);
    expect(peek(WINDOW, 2)).toBe(0x5a5an);
  });

  it("store through ES whatever the override", () => {
    segment("es", WINDOW, 0xffff, DATA_RIGHTS);
    segment("fs", DATA_START, 0xffff, DATA_RIGHTS);
    poke(DATA_START + 4, 0x99n, 1);
    machine.state.setGpr(RSI, 4n);
    machine.state.setGpr(RDI, 8n);
    expect(execute("64 a4", MODE16)).toBeUndefined(); // movsb es:[di], fs:[si]
    expect(peek(WINDOW + 8, 1)).toBe(0x99n);
  });
});

describe("features", () => {
  const without = (name: string): CodeMode => ({ ...MODE64, feature: (feature) => feature !== name });

  it("that CPUID does not show raise #UD", () => {
    expect(execute("f3 0f b8 c3", without("POPCNT"))).toBe("6");
    expect(execute("f3 0f b8 c3", MODE64)).toBeUndefined();
  });

  it("do nothing without their feature if they are hints", () => {
    for (const [code, feature] of [
      ["0f 18 03", "SSE"], // prefetchnta [rbx]
      ["0f 0d 0b", "PREFETCHW"], // prefetchw [rbx]
      ["f3 0f 1e fa", "CET_IBT"], // endbr64
    ] as const) {
      expect(execute(code, without(feature)), code).toBeUndefined();
    }
  });

  it("turn TZCNT and LZCNT back into BSF and BSR", () => {
    machine.state.setGpr(RBX, 0x10n);
    machine.state.setGpr(RAX, 0x77n);
    execute("f3 0f bd c3", without("LZCNT"));
    expect(gpr(RAX)).toBe(4n);
    execute("f3 0f bd c3", MODE64);
    expect(gpr(RAX)).toBe(27n);
    machine.state.setGpr(RBX, 0n);
    machine.state.setGpr(RAX, 0x77n);
    execute("f3 0f bc c3", without("BMI1"));
    expect(gpr(RAX)).toBe(0x77n);
  });
});

describe("a block", () => {
  const lift = (code: string, mode = MODE64, ip = 0x1000n): readonly string[] => {
    const stream = new InstructionStream(hex(code), ip, mode.bitness);
    const block = liftBlock(() => stream.next(), ip, mode);
    stream.free();
    return (block?.uops ?? []).map((uop) => uopDefinition(uop.op).name);
  };

  it("computes no flags that are overwritten", () => {
    // add eax, ebx; cmp eax, ecx; add eax, edx; jz
    expect(lift("01 d8 39 c8 01 d0 74 00")).toEqual(["add32nf", "add32", "jcc4_64"]);
  });

  it("computes flags that a fault could show", () => {
    // add eax, ebx; mov ecx, [rdi]; add eax, edx; jmp
    expect(lift("01 d8 8b 0f 01 d0 eb 00")).toEqual(["add32", "ld32", "add32", "jmp64"]);
  });

  it("keeps the carry that INC does not write", () => {
    // add eax, ebx; inc ecx; jc
    expect(lift("01 d8 ff c1 72 00")).toEqual(["add32", "inc32", "jcc2_64"]);
  });

  it("is the same wherever it lies", () => {
    const code = "48 8d 05 10 00 00 00 48 8b 0d 20 00 00 00 e8 30 00 00 00"; // lea, mov rip-relative; call
    const at = (ip: bigint): unknown => {
      const stream = new InstructionStream(hex(code), ip, 64);
      const block = liftBlock(() => stream.next(), ip, MODE64);
      stream.free();
      return block?.uops;
    };
    expect(at(0x7fff_0000_1000n)).toEqual(at(0x1000n));
  });

  it("ends before an instruction that cannot be decoded, and raises if that is the first", () => {
    expect(lift("90 01 d8 8d c0", MODE32)).toEqual(["add32", "jmp32"]);
    expect(lift("8d c0", MODE32)).toEqual(["movi", "raise"]);
  });

  it("has a system instruction or a repeated one to itself", () => {
    expect(lift("90 f4")).toEqual(["jmp64"]);
    expect(lift("f4")).toEqual(["sys"]);
    expect(lift("01 d8 f3 aa").at(-1)).toBe("jmp64");
    expect(lift("f3 aa").at(-1)).toBe("jnz64");
  });

  it("needs more bytes if its first instruction is cut off", () => {
    const stream = new InstructionStream(hex("48 8b"), 0n, 64);
    expect(liftBlock(() => stream.next(), 0n, MODE64)).toBeUndefined();
    stream.free();
  });
});
