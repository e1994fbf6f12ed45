import { describe, expect, it } from "vitest";
import {
  type CodeMode,
  liftBlock,
  InstructionStream,
  mem,
  qword,
  dword,
  reg,
  slot,
  uopDefinition,
  Assembler,
} from "@tapvisor/x86-isa";
import { DATA, Rig, STACK } from "./rig.js";

const CONDITIONS = ["b", "ae", "e", "ne", "be", "a", "s", "ns", "l", "ge", "le", "g", "o", "p"] as const;
const VALUES = [0n, 1n, 0x7fn, 0x80n, 0xffn, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 1n << 63n, (1n << 64n) - 1n];

/** Registers of each size: two to compare, each with its constant operands. */
const OPERANDS = [
  [reg.al, reg.cl],
  [reg.ax, reg.cx],
  [reg.eax, reg.ecx],
  [reg.rax, reg.rcx],
] as const;

describe.each([64, 32] as const)("a comparison and the branch on it in %i-bit code", (bitness) => {
  it.each(["cmp", "test"] as const)(
    "%s goes the same way as by two instructions, and leaves the same flags",
    (compare) => {
      const [fast, slow] = [new Rig(bitness), new Rig(bitness)];
      for (const [x, y] of OPERANDS.slice(0, bitness === 64 ? 4 : 3)) {
        for (const second of [y, 0, 1, -1, 0x7f]) {
          // Each condition that holds sets its bit in EBX.
          const write = (a: Assembler): void => {
            a.xor(reg.ebx, reg.ebx);
            CONDITIONS.forEach((condition, n) => {
              a[compare](x, second)[`j${condition}`](`yes${n}`).jmp(`no${n}`);
              a.label(`yes${n}`)
                .lea(reg.ebx, mem(bitness === 64 ? reg.rbx : reg.ebx, 1 << n))
                .label(`no${n}`);
            });
            a.pushf().hlt();
          };
          for (const rig of [fast, slow]) rig.load(write);
          const start = fast.rip;
          for (const a of VALUES) {
            for (const b of typeof second === "number" ? [0n] : VALUES) {
              for (const rig of [fast, slow]) {
                rig.rip = start;
                rig.state.setGpr(0, a);
                rig.state.setGpr(1, b);
                rig.state.setGpr(4, BigInt(STACK));
              }
              fast.run("interpreter");
              slow.run("stepper");
              const seen = (rig: Rig): string => `${rig.state.gpr(3)} ${rig.state.rflags} ${rig.retiredCount}`;
              expect(seen(fast), `${compare} ${a} ${b}`).toBe(seen(slow));
            }
          }
        }
      }
    },
    60_000,
  );
});

const FLAT32: CodeMode = { bitness: 32, stackBytes: 4, flat: true, virtual8086: false, protectedMode: true };
const LONG: CodeMode = { ...FLAT32, bitness: 64, stackBytes: 8 };

/** Names of the micro-operations that code becomes. */
function namesOf(mode: CodeMode, write: (a: Assembler) => void): string[] {
  const a = new Assembler(mode.bitness);
  write(a);
  const stream = new InstructionStream(a.assemble(0x1000).bytes, 0x1000n, mode.bitness);
  try {
    return (liftBlock(() => stream.next(), 0x1000n, mode)?.uops ?? []).map(({ op }) => uopDefinition(op).name);
  } finally {
    stream.free();
  }
}

describe("micro-operations that do the work of several", () => {
  const { eax, ecx, ebp, esp, ebx, rax, rcx, rdx, rsp } = reg;

  it("compute the addresses of loads and stores", () => {
    expect(namesOf(FLAT32, (a) => a.mov(eax, dword(ebp, 8)).jmp("x").label("x"))).toEqual(["ld32c", "jmp32"]);
    expect(
      namesOf(FLAT32, (a) =>
        a
          .mov(dword({ base: eax, index: ecx, scale: 4, disp: -4 }), ebx)
          .jmp("x")
          .label("x"),
      ),
    ).toEqual(["st32xc", "jmp32"]);
    expect(
      namesOf(LONG, (a) =>
        a
          .mov(rdx, qword({ base: rax, index: rcx, scale: 8 }))
          .jmp("x")
          .label("x"),
      ),
    ).toEqual(["ld64x", "jmp64"]);
  });

  it("are PUSH, POP and RET", () => {
    expect(namesOf(FLAT32, (a) => a.push(eax).pop(ecx).ret())).toEqual(["push32", "pop32", "ret32"]);
    expect(namesOf(LONG, (a) => a.push(rax).pop(rcx).ret())).toEqual(["push64", "pop64", "ret64"]);
  });

  it("let POP into the stack pointer win over its increment", () => {
    for (const bitness of [32, 64] as const) {
      const rig = new Rig(bitness);
      const sp = bitness === 64 ? rsp : esp;
      rig.load((a) => a.push(0x12340).pop(sp).hlt());
      rig.run("interpreter");
      expect(rig.state.gpr(4)).toBe(0x12340n);
    }
  });
});

describe("an address that wraps around", () => {
  it("is cut to 32 bits after its index was added", () => {
    const rig = new Rig(32);
    rig.memory.ram.writeU32(DATA, 0x1234_5678);
    rig.load((a) =>
      a
        .mov(reg.eax, dword({ base: reg.ecx, index: reg.edx, scale: 4, disp: 8 }))
        .push(reg.eax)
        .hlt(),
    );
    rig.state.setGpr(1, 0xffff_ff00n);
    rig.state.setGpr(2, BigInt((DATA + 0x100 - 8) / 4));
    rig.run("interpreter");
    expect(rig.state.gpr(0)).toBe(0x1234_5678n);
    expect(rig.state.get32(slot("rsp"))).toBe(STACK - 4);
  });

  it("of a RET is refused if it is not canonical, and the stack pointer stays", () => {
    const rig = new Rig(64);
    rig.load((a) => a.mov(reg.rax, 0x8000_0000_0000n).push(reg.rax).ret());
    rig.run("interpreter");
    expect(rig.faults.map(({ vector, errorCode }) => [vector, errorCode])).toEqual([[13, 0]]);
    expect(rig.state.gpr(4)).toBe(BigInt(STACK - 8));
    expect(rig.retiredCount).toBe(2);
  });
});
