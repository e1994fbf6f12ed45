import { describe, expect, it } from "vitest";
import {
  Assembler,
  AssemblerError,
  byte,
  decode,
  distance,
  dword,
  far,
  fword,
  mem,
  qword,
  reg,
  sym,
  tbyte,
  word,
  type Bitness,
} from "../../src/index.js";

const { rax, rbx, rcx, rsp, r8, eax, ebx, ecx, ax, al, cl, dx, cr0, cr3, cr4, dr7, ds, fs, si, bx, xmm1, st0, st1 } =
  reg;
const hex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join(" ");

function one(bitness: Bitness, write: (a: Assembler) => void, origin = 0n): string {
  const a = new Assembler(bitness);
  write(a);
  return hex(a.assemble(origin).bytes);
}

describe("refusals", () => {
  it("names the forms when no form takes the operands", () => {
    expect(() => one(64, (a) => a.mov(cr0, al))).toThrow(/mov cr0, al: .*MOV/);
  });
  it("names a mnemonic that does not exist", () => {
    const a = new Assembler(64);
    a.emit("frobnicate" as "mov");
    expect(() => a.assemble()).toThrow(/no instruction "frobnicate"/);
  });
  it("names a label that is not defined", () => {
    expect(() => one(64, (a) => a.jmp("nowhere"))).toThrow(/label "nowhere" is not defined/);
  });
  it("refuses a label that is defined twice", () => {
    expect(() => new Assembler(64).label("x").label("x")).toThrow(/"x" is defined twice/);
  });
  it("asks for the size of a memory operand that nothing else tells", () => {
    expect(() => one(64, (a) => a.mov(mem(rax), 1))).toThrow(/size of the memory operand is open/);
    expect(() => one(64, (a) => a.inc(mem(rax)))).toThrow(/size of the memory operand is open/);
  });
  it("refuses an immediate that does not fit", () => {
    expect(() => one(32, (a) => a.mov(al, 256))).toThrow(AssemblerError);
    expect(() => one(64, (a) => a.add(rax, 0x80000000n))).toThrow(AssemblerError);
  });
  it("refuses what the code size does not have", () => {
    expect(() => one(64, (a) => a.pusha())).toThrow(/not in 64-bit code/);
    expect(() => one(32, (a) => a.mov(rax, 1))).toThrow(AssemblerError);
  });
  it("refuses a branch out of reach, and org backwards", () => {
    expect(() => one(64, (a) => a.loop("far").zero(200).label("far"))).toThrow(/loop far/);
    expect(() => one(64, (a) => a.zero(16).org(8))).toThrow(/org 0x8/);
  });
  it("refuses data that does not fit", () => {
    const a = new Assembler(32);
    a.label("x").dw("x");
    expect(() => a.assemble(0x100000n)).toThrow(/does not fit 16 bits/);
  });
});

describe("choice of the form", () => {
  const cases: readonly [string, Bitness, (a: Assembler) => void, string][] = [
    ["mov eax, imm", 64, (a) => a.mov(eax, 5), "b8 05 00 00 00"],
    ["mov rax, small", 64, (a) => a.mov(rax, 5n), "48 c7 c0 05 00 00 00"],
    ["mov rax, -1 as unsigned", 64, (a) => a.mov(rax, 0xffff_ffff_ffff_ffffn), "48 c7 c0 ff ff ff ff"],
    ["mov rax, wide", 64, (a) => a.mov(rax, 0x1122334455667788n), "48 b8 88 77 66 55 44 33 22 11"],
    ["add with a sign-extended byte", 64, (a) => a.add(rbx, -1), "48 83 c3 ff"],
    ["add with an unsigned doubleword", 32, (a) => a.add(ecx, 0xffffffff), "83 c1 ff"],
    ["mov cr", 64, (a) => a.mov(cr3, rax), "0f 22 d8"],
    ["mov from cr4", 32, (a) => a.mov(eax, cr4), "0f 20 e0"],
    ["mov dr", 64, (a) => a.mov(dr7, rax), "0f 23 f8"],
    ["mov ds", 16, (a) => a.mov(ds, ax), "8e d8"],
    ["push imm in 32-bit code", 32, (a) => a.push(0x1234), "68 34 12 00 00"],
    ["push imm8", 64, (a) => a.push(8), "6a 08"],
    ["push with a size", 32, (a) => a.operandSize(16).push(0x1234), "66 68 34 12"],
    ["retf", 64, (a) => a.retf(), "cb"],
    ["retf of 64 bits", 64, (a) => a.operandSize(64).retf(), "48 cb"],
    ["ret", 64, (a) => a.ret(), "c3"],
    ["iretq", 64, (a) => a.iretq(), "48 cf"],
    ["nop", 64, (a) => a.nop(), "90"],
    ["shl by one", 32, (a) => a.shl(eax, 1), "d1 e0"],
    ["shl by cl", 32, (a) => a.shl(eax, cl), "d3 e0"],
    ["in al, dx", 32, (a) => a.in(al, dx), "ec"],
    ["out imm, al", 16, (a) => a.out(0xf4, al), "e6 f4"],
    ["rep movsb", 64, (a) => a.rep().movsb(), "f3 a4"],
    ["rep stosq", 64, (a) => a.rep().stosq(), "f3 48 ab"],
    ["repne scasb", 32, (a) => a.repne().scasb(), "f2 ae"],
    ["lock", 64, (a) => a.lock().add(dword(rbx), ecx), "f0 01 0b"],
    ["base and index", 64, (a) => a.mov(rax, qword({ base: rbx, index: rcx, scale: 8, disp: 16 })), "48 8b 44 cb 10"],
    ["rsp as base", 64, (a) => a.mov(eax, mem(rsp, 8)), "8b 44 24 08"],
    ["r8 as index", 64, (a) => a.lea(rax, mem({ base: rbx, index: r8, disp: 0x1000 })), "4a 8d 84 03 00 10 00 00"],
    ["segment", 64, (a) => a.mov(rax, qword({ segment: fs, disp: 0x28 })), "64 48 8b 04 25 28 00 00 00"],
    ["16-bit address", 16, (a) => a.mov(ax, word({ base: bx, index: si, disp: 4 })), "8b 40 04"],
    ["lgdt in 16-bit code", 16, (a) => a.lgdt(mem(0x7c40)), "0f 01 16 40 7c"],
    ["lgdt of 32 bits in 16-bit code", 16, (a) => a.operandSize(32).lgdt(mem(0x7c40)), "66 0f 01 16 40 7c"],
    ["lgdt", 64, (a) => a.lgdt(mem(rax)), "0f 01 10"],
    ["far jump", 16, (a) => a.jmp(far(8, 0x1234)), "ea 34 12 08 00"],
    ["far jump of 32 bits in 16-bit code", 16, (a) => a.jmp(far(8, 0x100000, 32)), "66 ea 00 00 10 00 08 00"],
    ["far jump through memory", 32, (a) => a.jmp(fword(eax)), "ff 28"],
    ["far jump of 64 bits", 64, (a) => a.jmp(tbyte(rax)), "48 ff 28"],
    ["near call through memory", 64, (a) => a.call(qword(rax)), "ff 10"],
    ["movzx", 64, (a) => a.movzx(eax, byte(rbx)), "0f b6 03"],
    ["imul with three operands", 32, (a) => a.imul(eax, ebx, 100), "6b c3 64"],
    ["SSE", 64, (a) => a.movaps(xmm1, mem(rax)), "0f 28 08"],
    ["x87", 32, (a) => a.fadd(st0, st1), "d8 c1"],
    ["int3, int", 32, (a) => a.int3().int(0x80), "cc cd 80"],
    ["enter with two immediates", 32, (a) => a.enter(16, 1), "c8 10 00 01"],
    ["sti, hlt, cli", 64, (a) => a.sti().hlt().cli(), "fb f4 fa"],
    ["vmcall", 64, (a) => a.vmcall(), "0f 01 c1"],
    ["swapgs, sysretq", 64, (a) => a.swapgs().sysretq(), "0f 01 f8 48 0f 07"],
  ];
  for (const [name, bitness, write, expected] of cases) {
    it(`${name} in ${bitness}-bit code`, () => expect(one(bitness, write)).toBe(expected));
  }
});

describe("layout", () => {
  it("takes short branches where they reach and long ones where not", () => {
    const a = new Assembler(64);
    a.label("top").jmp("near").zero(100).label("near").jz("far").zero(200).label("far").jmp("top");
    const { bytes, symbols } = a.assemble(0x1000n);
    expect(hex(bytes.subarray(0, 2))).toBe("eb 64");
    expect(symbols.get("near")).toBe(0x1066n);
    expect(hex(bytes.subarray(0x66, 0x6c))).toBe("0f 84 c8 00 00 00");
    expect(hex(bytes.subarray(0x66 + 6 + 200))).toBe("e9 c7 fe ff ff");
    expect(0x1000n + BigInt(bytes.length)).toBe((symbols.get("far") ?? 0n) + 5n);
  });

  it("grows branches that grow because of others", () => {
    const a = new Assembler(32);
    a.jmp("end").zero(122).jmp("end2").label("end").zero(200).label("end2");
    // With the second jump at 5 bytes the first one reaches exactly 127.
    expect(hex(a.assemble().bytes.subarray(0, 2))).toBe("eb 7f");
  });

  it("switches code sizes in one image and resolves labels across", () => {
    const a = new Assembler(16);
    a.cli()
      .operandSize(32)
      .lgdt(mem("gdtr"))
      .mov(eax, cr0)
      .or(al, 1)
      .mov(cr0, eax)
      .jmp(far(8, "code32"))
      .bits(32)
      .label("code32")
      .mov(eax, "gdt")
      .jmp(far(16, "code64"))
      .bits(64)
      .label("code64")
      .mov(rax, qword("gdt"))
      .lea(rbx, mem("gdt"))
      .hlt()
      .align(8)
      .label("gdt")
      .dq(0, 0x00cf9a000000ffffn, 0x00af9a000000ffffn)
      .label("gdtr")
      .dw(distance("gdtr", "gdt", -1))
      .dd("gdt");
    const { bytes, symbols } = a.assemble(0x7c00n);
    const at = (name: string): number => Number((symbols.get(name) ?? 0n) - 0x7c00n);
    const gdt = symbols.get("gdt") ?? 0n;
    expect(gdt % 8n).toBe(0n);
    const far32 = decode(bytes.subarray(at("code32") - 5), 0n, 16);
    expect(far32).toMatchObject({
      instruction: { operands: [{ kind: "far", selector: 8, offset: Number(symbols.get("code32")) }] },
    });
    const load = decode(bytes.subarray(at("code64")), symbols.get("code64") ?? 0n, 64);
    expect(load).toMatchObject({ instruction: { memory: { displacement: gdt, size: 8 } } });
    const gdtr = bytes.subarray(at("gdtr"));
    expect(hex(gdtr.subarray(0, 2))).toBe("17 00");
    expect(new DataView(gdtr.buffer, gdtr.byteOffset).getUint32(2, true)).toBe(Number(gdt));
  });

  it("lays sections out in order, and fills to org and alignment", () => {
    const a = new Assembler(64);
    a.section("data").label("value").dd(1).section("text").mov(eax, dword("value")).align(16, 0x90).label("next");
    const { bytes, symbols } = a.assemble(0x2000n);
    expect(symbols.get("next")).toBe(0x2010n);
    expect(symbols.get("value")).toBe(0x2010n);
    expect(hex(bytes.subarray(6, 16))).toBe("90 90 90 90 90 90 90 90 90 90");
    const boot = new Assembler(16).hlt().org(0x7dfe).dw(0xaa55).assemble(0x7c00);
    expect(boot.bytes.length).toBe(512);
    expect(hex(boot.bytes.subarray(510))).toBe("55 aa");
  });

  it("resolves constants, symbols with an offset, and text", () => {
    const a = new Assembler(64);
    a.equ("PORT", 0x3f8).mov(dx, "PORT").label("here").dq(sym("here", 4)).asciz("Hi");
    expect(hex(a.assemble(0x10n).bytes)).toBe("66 ba f8 03 18 00 00 00 00 00 00 00 48 69 00");
  });

  it("assembles to the same bytes twice", () => {
    const a = new Assembler(64).jmp("x").zero(300).label("x").hlt();
    const first = hex(a.assemble(0n).bytes);
    expect(hex(a.assemble(0n).bytes)).toBe(first);
  });
});
