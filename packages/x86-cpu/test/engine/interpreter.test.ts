import { describe, expect, it } from "vitest";
import { byte, dword, mem, qword, reg, sym, type Assembler } from "@tapvisor/x86-isa";
import { CODE, DATA, Rig, STACK } from "./rig.js";

const { rax, rbx, rcx, rdx, rsi, rdi, rsp, eax, ebx, ecx, edx, al, ax } = reg;

describe.each(["interpreter", "stepper"] as const)("the %s", (how) => {
  it("sums a loop in 64-bit mode, and retires each instruction once", () => {
    const rig = new Rig(64);
    rig.load((a) => a.xor(eax, eax).mov(ecx, 100).label("top").add(rax, rcx).dec(rcx).jnz("top").hlt());
    rig.run(how);
    expect(rig.state.gpr(0)).toBe(5050n);
    expect(rig.retiredCount).toBe(2 + 300 + 1);
  });

  it("calls, pushes and returns", () => {
    const rig = new Rig(64);
    rig.load((a) => a.mov(rbx, 7n).call("double").push(rax).pop(rdx).hlt().label("double").lea(rax, mem(rbx, 7)).ret());
    rig.run(how);
    expect(rig.state.gpr(2)).toBe(14n);
    expect(rig.state.gpr(4)).toBe(BigInt(STACK));
  });

  it("reads and writes memory of every size, and across a page", () => {
    const rig = new Rig(64);
    rig.load((a) =>
      a
        .mov(rbx, BigInt(DATA + 0xffd))
        .mov(rax, 0x1122_3344_5566_7788n)
        .mov(qword(rbx), rax)
        .mov(ecx, dword(rbx, 2))
        .movzx(edx, byte(rbx, 7))
        .inc(byte(rbx))
        .mov(rsi, qword(rbx))
        .hlt(),
    );
    rig.run(how);
    expect(rig.state.gpr(1)).toBe(0x3344_5566n);
    expect(rig.state.gpr(2)).toBe(0x11n);
    expect(rig.state.gpr(6)).toBe(0x1122_3344_5566_7789n);
  });

  it("leaves RIP at the instruction that faults, and counts those before it alone", () => {
    const rig = new Rig(64);
    const symbols = rig.load((a) =>
      a.mov(eax, 1).mov(rbx, 0x900_0000n).inc(eax).label("fault").mov(qword(rbx), rax).inc(eax).hlt(),
    );
    rig.run(how);
    expect(rig.faults.map(({ vector, errorCode, cr2 }) => [vector, errorCode, cr2])).toEqual([[14, 2, 0x900_0000n]]);
    expect(BigInt(rig.rip)).toBe(symbols.get("fault"));
    expect(rig.state.gpr(0)).toBe(2n);
    expect(rig.retiredCount).toBe(3);
  });

  it("raises #DE for a quotient that does not fit", () => {
    const rig = new Rig(32);
    const symbols = rig.load((a) => a.mov(edx, 5).mov(ecx, 5).label("div").div(ecx).hlt());
    rig.run(how);
    expect(rig.faults.map(({ vector, errorCode }) => [vector, errorCode])).toEqual([[0, undefined]]);
    expect(BigInt(rig.rip)).toBe(symbols.get("div"));
  });

  it("raises #UD for an instruction that the processor lacks, and names it", () => {
    const rig = new Rig(64);
    // XTEST, of transactional memory.
    const symbols = rig.load((a) => a.inc(eax).label("lacking").db(0x0f, 0x01, 0xd6).inc(eax).hlt());
    rig.run(how);
    expect(rig.faults.map(({ vector }) => vector)).toEqual([6]);
    expect(BigInt(rig.rip)).toBe(symbols.get("lacking"));
    expect(rig.missing).toEqual(["XTEST"]);
    expect(rig.retiredCount).toBe(1);
  });

  it("stops after exactly as many instructions as it may", () => {
    const whole = new Rig(64);
    const program = (rig: Rig): void => {
      rig.load((a) =>
        a.mov(ecx, 50).label("top").add(eax, ecx).imul(ebx, eax, 3).xor(ebx, ecx).dec(ecx).jnz("top").hlt(),
      );
    };
    program(whole);
    whole.run(how);
    const total = whole.retiredCount;
    const pieces = new Rig(64);
    program(pieces);
    for (let piece = 1; pieces.retiredCount < total; piece = (piece * 5) % 13 || 7) {
      const before = pieces.retiredCount;
      pieces.run(how, piece);
      expect(pieces.retiredCount - before).toBe(Math.min(piece, total - before));
    }
    expect(pieces.state.gpr(3)).toBe(whole.state.gpr(3));
    expect(pieces.rip).toBe(whole.rip);
  });

  it("executes code that an earlier instruction of the same block has changed", () => {
    const rig = new Rig(32);
    rig.load((a) =>
      a
        .mov(eax, 1)
        // Opcode of `inc ebx` (43) over the NOP two instructions on.
        .mov(byte("target"), 0x43)
        .nop()
        .label("target")
        .nop()
        .hlt(),
    );
    rig.run(how);
    expect(rig.state.gpr(3)).toBe(1n);
  });

  it("executes changed code when it comes there again", () => {
    const rig = new Rig(64);
    rig.load((a) =>
      a
        .xor(ebx, ebx)
        .mov(ecx, 3)
        .lea(rdi, mem("body"))
        .label("top")
        .call("body")
        // mov eax, imm32: its constant counts up.
        .inc(dword(rdi, 1))
        .dec(ecx)
        .jnz("top")
        .hlt()
        .label("body")
        .mov(eax, 10)
        .add(ebx, eax)
        .ret(),
    );
    rig.run(how);
    expect(rig.state.gpr(3)).toBe(33n);
  });

  it.runIf(how === "interpreter")("goes on when the room for translated code is used up", () => {
    const rig = new Rig(64);
    const turns = 20_000;
    rig.load((a) => {
      a.xor(ebx, ebx).mov(ecx, turns).mov(eax, 1).label("top");
      // Each turn changes the code of the next, which is translated anew.
      a.lea(rdi, mem("changed")).xor(byte(rdi, 1), 1).call("changed").dec(ecx).jnz("top").hlt();
      a.label("changed").mov(al, 0);
      for (let i = 0; i < 30; i++) a.add(ebx, eax);
      a.ret();
    });
    rig.run(how);
    expect(rig.state.gpr(3)).toBe(BigInt((turns / 2) * 30));
  });

  it("drops code that the host writes over", () => {
    const rig = new Rig(64);
    rig.load((a) => a.mov(eax, 1).hlt());
    rig.run(how);
    rig.load((a) => a.mov(eax, 2).hlt());
    rig.run(how);
    expect(rig.state.gpr(0)).toBe(2n);
  });

  it("takes the way to a block anew whenever its code has changed", () => {
    const rig = new Rig(64);
    // Each turn of the loop jumps to code in another page, whose constant it then makes one greater.
    const code = (a: Assembler): void => {
      a.mov(ecx, 100).xor(eax, eax).label("again").jmp("changed").label("back");
      a.inc(dword(sym("constant", -4)))
        .dec(ecx)
        .jne("again")
        .hlt();
      a.align(4096).label("changed").add(eax, 0x1000_0000).label("constant").jmp("back");
    };
    rig.load(code);
    rig.run(how);
    expect(rig.state.gpr(0)).toBe(BigInt((100 * 0x1000_0000 + (99 * 100) / 2) % 2 ** 32));
  });

  it("runs string instructions one repetition an instruction", () => {
    const rig = new Rig(64);
    rig.load((a) =>
      a
        .mov(rdi, BigInt(DATA))
        .mov(rsi, BigInt(DATA))
        .mov(ecx, 5000)
        .mov(al, 0x5a)
        .rep()
        .stosb()
        .lodsb()
        .movzx(ebx, al)
        .hlt(),
    );
    rig.run(how, 1000);
    expect(rig.state.gpr(1)).toBe(5000n - 996n);
    rig.run(how);
    expect(rig.state.gpr(3)).toBe(0x5an);
    expect(rig.memory.ram.readU8(DATA + 4999)).toBe(0x5a);
    expect(rig.memory.ram.readU8(DATA + 5000)).toBe(0);
  });

  it("wraps offsets and checks limits in 16-bit code", () => {
    const rig = new Rig(16);
    rig.load((a) => a.mov(ax, 0x1234).push(ax).pop(reg.bx).mov(reg.di, 0xffff).mov(ax, mem(reg.di)).hlt(), 0x8000);
    rig.run(how);
    expect(rig.state.gpr(3)).toBe(0x1234n);
    expect(rig.faults.map(({ vector }) => vector)).toEqual([13]);
  });

  it("runs an instruction that crosses into the next page", () => {
    const rig = new Rig(64);
    rig.load((a) => a.mov(eax, 0x0102_0304).inc(eax).hlt(), CODE + 0xffe);
    rig.run(how);
    expect(rig.state.gpr(0)).toBe(0x0102_0305n);
  });

  it("sets and reads back flags through PUSHF", () => {
    const rig = new Rig(64);
    rig.load((a) => a.mov(al, 0x7f).add(al, 1).pushfq().pop(rbx).cmp(rsp, rsp).setz(reg.cl).hlt());
    rig.run(how);
    // OF, SF, AF; and the bit that is always set.
    expect(rig.state.gpr(3)).toBe(0x892n);
    expect(rig.state.gpr(1) & 0xffn).toBe(1n);
  });
});
