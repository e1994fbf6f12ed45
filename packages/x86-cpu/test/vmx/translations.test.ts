import {
  CR4,
  EXIT_REASON,
  INVEPT_TYPE,
  INVVPID_TYPE,
  SECONDARY_EXEC,
  dword,
  mem,
  reg,
  type Assembler,
} from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { Guest } from "./guest.js";

const { rax, eax, rbx, rcx, cr3, cr4 } = reg;

const PAGE_TABLE = 0xa000;
/** Maps the linear address {@link LINEAR}. */
const ENTRY = PAGE_TABLE;
const LINEAR = 0x200000;
/** The page directory of the guest, whose second entry leads to the page table. */
const DIRECTORY = 0x3000;
const OLD = 0x10000;
const NEW = 0x11000;
const DESCRIPTOR = 0x12000;
const PML4 = 0x1000;
const GLOBAL = 0x100n;
const VPID = 5;

/** A guest in long mode whose page at {@link LINEAR} can be moved from OLD to NEW behind the processor's back. */
class Moving {
  readonly guest = new Guest();

  constructor(global = false, cr4Bits: bigint = CR4.PGE | CR4.PCIDE) {
    const { guest } = this;
    guest.set("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.ENABLE_VPID | SECONDARY_EXEC.ENABLE_INVPCID);
    guest.write("VIRTUAL_PROCESSOR_ID", VPID);
    guest.write("GUEST_CR4", guest.read("GUEST_CR4") | cr4Bits);
    const { memory } = guest.host;
    memory.writeU64(guest.at(DIRECTORY + 8), BigInt(PAGE_TABLE | 7));
    memory.writeU64(guest.at(ENTRY), BigInt(OLD | 0x67) | (global ? GLOBAL : 0n));
    memory.writeU32(guest.at(OLD), 1);
    memory.writeU32(guest.at(NEW), 2);
  }

  /** Execute code of the guest, then HLT. */
  execute(write: (a: Assembler) => void): void {
    this.guest.code(64, (a) => {
      write(a);
      a.hlt();
    });
    this.guest.write("GUEST_RIP", 0x8000);
    expect(this.guest.run()).toBe(EXIT_REASON.HLT);
  }

  /** 1: the old page, 2: the new one. */
  read(): bigint {
    this.execute((a) => a.mov(rbx, BigInt(LINEAR)).mov(eax, dword(rbx)));
    return this.guest.gpr(0);
  }

  move(): void {
    const { guest } = this;
    const { memory } = guest.host;
    memory.writeU64(guest.at(ENTRY), (memory.readU64(guest.at(ENTRY)) & 0xfffn) | BigInt(NEW));
  }

  loadCr3(value: bigint): void {
    this.execute((a) => a.mov(rax, value).mov(cr3, rax));
  }

  invpcid(type: bigint, pcid: bigint, linear = 0n): void {
    const { guest } = this;
    guest.host.memory.writeU64(guest.at(DESCRIPTOR), pcid);
    guest.host.memory.writeU64(guest.at(DESCRIPTOR + 8), linear);
    this.execute((a) => a.mov(rcx, type).mov(rbx, BigInt(DESCRIPTOR)).invpcid(rcx, mem(rbx)));
  }

  toggle(bit: bigint): void {
    this.execute((a) => {
      a.mov(rax, cr4).mov(rcx, bit).xor(rax, rcx).mov(cr4, rax).xor(rax, rcx).mov(cr4, rax);
    });
  }
}

interface Row {
  readonly name: string;
  readonly act: (m: Moving) => void;
  /** Whether a translation that is not global, or is, lasts. */
  readonly keeps: readonly [plain: boolean, global: boolean];
}

const KEEP = 1n << 63n;
const ROOT = BigInt(PML4);

const ROWS: readonly Row[] = [
  { name: "a VM entry with the same VPID", act: (m) => m.execute((a) => a.nop()), keeps: [true, true] },
  { name: "MOV to CR3", act: (m) => m.loadCr3(ROOT), keeps: [false, true] },
  { name: "MOV to CR3 with bit 63", act: (m) => m.loadCr3(ROOT | KEEP), keeps: [true, true] },
  {
    name: "MOV to CR3 with another PCID, and back with bit 63",
    act: (m) => {
      m.loadCr3(ROOT | 3n);
      m.loadCr3(ROOT | KEEP);
    },
    keeps: [true, true],
  },
  {
    name: "INVLPG of the address",
    act: (m) => m.execute((a) => a.mov(rbx, BigInt(LINEAR + 0x123)).invlpg(mem(rbx))),
    keeps: [false, false],
  },
  {
    name: "INVLPG of another page",
    act: (m) => m.execute((a) => a.mov(rbx, BigInt(LINEAR + 0x1000)).invlpg(mem(rbx))),
    keeps: [true, true],
  },
  { name: "INVPCID of the address", act: (m) => m.invpcid(0n, 0n, BigInt(LINEAR)), keeps: [false, false] },
  { name: "INVPCID of another address", act: (m) => m.invpcid(0n, 0n, BigInt(LINEAR + 0x5000)), keeps: [true, true] },
  {
    name: "INVPCID of the address in another PCID",
    act: (m) => m.invpcid(0n, 3n, BigInt(LINEAR)),
    keeps: [true, true],
  },
  { name: "INVPCID of the PCID", act: (m) => m.invpcid(1n, 0n), keeps: [false, true] },
  { name: "INVPCID of another PCID", act: (m) => m.invpcid(1n, 3n), keeps: [true, true] },
  { name: "INVPCID of all PCIDs with globals", act: (m) => m.invpcid(2n, 0n), keeps: [false, false] },
  { name: "INVPCID of all PCIDs without globals", act: (m) => m.invpcid(3n, 0n), keeps: [false, true] },
  { name: "a change of CR4.PGE", act: (m) => m.toggle(CR4.PGE), keeps: [false, false] },
  { name: "CR4.PCIDE cleared", act: (m) => m.toggle(CR4.PCIDE), keeps: [false, false] },
  { name: "CR4.SMEP set", act: (m) => m.toggle(CR4.SMEP), keeps: [false, true] },
  { name: "INVVPID of the address", act: (m) => invvpid(m, INVVPID_TYPE.INDIVIDUAL_ADDR, VPID), keeps: [false, false] },
  {
    name: "INVVPID of the address in another VPID",
    act: (m) => invvpid(m, INVVPID_TYPE.INDIVIDUAL_ADDR, 9),
    keeps: [true, true],
  },
  { name: "INVVPID of the VPID", act: (m) => invvpid(m, INVVPID_TYPE.SINGLE_CONTEXT, VPID), keeps: [false, false] },
  { name: "INVVPID of another VPID", act: (m) => invvpid(m, INVVPID_TYPE.SINGLE_CONTEXT, 9), keeps: [true, true] },
  { name: "INVVPID of all VPIDs", act: (m) => invvpid(m, INVVPID_TYPE.ALL_CONTEXT, 0), keeps: [false, false] },
  {
    name: "INVVPID of the VPID but for globals",
    act: (m) => invvpid(m, INVVPID_TYPE.SINGLE_CONTEXT_RETAINING_GLOBALS, VPID),
    keeps: [false, true],
  },
  {
    name: "INVEPT of the EPTP",
    act: (m) => expect(m.guest.cpu.invept(INVEPT_TYPE.SINGLE_CONTEXT, m.guest.eptp)).toBe(0),
    keeps: [false, false],
  },
  {
    name: "INVEPT of another EPTP",
    act: (m) => expect(m.guest.cpu.invept(INVEPT_TYPE.SINGLE_CONTEXT, m.guest.eptp + 0x10000)).toBe(0),
    keeps: [true, true],
  },
  {
    name: "a stay in another VPID",
    act: (m) => {
      m.guest.write("VIRTUAL_PROCESSOR_ID", VPID + 1);
      expect(m.read()).toBe(2n);
      m.guest.write("VIRTUAL_PROCESSOR_ID", VPID);
    },
    keeps: [true, true],
  },
  {
    name: "a VM entry without VPIDs, and one back",
    act: (m) => {
      m.guest.clear("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.ENABLE_VPID);
      expect(m.read()).toBe(2n);
      m.guest.set("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.ENABLE_VPID);
    },
    keeps: [true, true],
  },
  {
    name: "CR0.WP cleared and set",
    act: (m) => {
      const { cr0 } = reg;
      m.execute((a) => a.mov(rax, cr0).mov(rcx, 0x10000n).xor(rax, rcx).mov(cr0, rax).xor(rax, rcx).mov(cr0, rax));
    },
    keeps: [true, true],
  },
];

function invvpid(m: Moving, type: number, vpid: number): void {
  expect(m.guest.cpu.invvpid(type, vpid, BigInt(LINEAR))).toBe(0);
}

describe("a translation that has been used", () => {
  for (const { name, act, keeps } of ROWS) {
    for (const global of [false, true]) {
      const lasts = keeps[global ? 1 : 0];
      it(`${global ? "of a global page " : ""}${lasts ? "outlives" : "ends with"} ${name}`, () => {
        const m = new Moving(global);
        expect(m.read()).toBe(1n);
        m.move();
        expect(m.read()).toBe(1n);
        act(m);
        expect(m.read()).toBe(lasts ? 1n : 2n);
      });
    }
  }

  it("ends with every VM entry where there are no VPIDs", () => {
    const m = new Moving();
    m.guest.clear("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.ENABLE_VPID);
    expect(m.read()).toBe(1n);
    m.move();
    expect(m.read()).toBe(2n);
  });

  it("belongs to its PCID alone", () => {
    const m = new Moving();
    expect(m.read()).toBe(1n);
    m.move();
    m.loadCr3(ROOT | 3n);
    expect(m.read()).toBe(2n);
    m.loadCr3(ROOT | KEEP);
    expect(m.read()).toBe(1n);
  });

  it("ends with MOV to CR3 where CR4.PCIDE is clear", () => {
    const m = new Moving(false, CR4.PGE);
    expect(m.read()).toBe(1n);
    m.move();
    m.loadCr3(ROOT);
    expect(m.read()).toBe(2n);
  });

  it("of a large page ends as a whole", () => {
    const m = new Moving();
    const { guest } = m;
    const { memory } = guest.host;
    // The first 2 MiB once more, at the linear address.
    memory.writeU64(guest.at(DIRECTORY + 8), 0xe7n);
    memory.writeU32(guest.at(0), 1);
    expect(m.read()).toBe(1n);
    memory.writeU64(guest.at(DIRECTORY + 8), BigInt(PAGE_TABLE | 7));
    m.move();
    expect(m.read()).toBe(1n);
    m.execute((a) => a.mov(rbx, BigInt(LINEAR + 0x1f_f000)).invlpg(mem(rbx)));
    expect(m.read()).toBe(2n);
  });

  it("ends with a page fault at its address, for every kind of access", () => {
    const m = new Moving();
    const { guest } = m;
    expect(m.read()).toBe(1n);
    guest.host.memory.writeU64(guest.at(ENTRY), 0n);
    expect(m.read()).toBe(1n);
    guest.write("EXCEPTION_BITMAP", 1 << 14);
    guest.code(64, (a) => a.mov(rbx, BigInt(LINEAR)).mov(dword(rbx), eax));
    guest.write("GUEST_RIP", 0x8000);
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    guest.code(64, (a) => a.mov(rbx, BigInt(LINEAR)).mov(eax, dword(rbx)));
    guest.write("GUEST_RIP", 0x8000);
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
  });

  it("of code ends with what ends one of data, and other code is executed", () => {
    const m = new Moving();
    const { guest } = m;
    const { memory } = guest.host;
    // MOV EAX, imm32; RET.
    for (const [page, value] of [
      [OLD, 1],
      [NEW, 2],
    ] as const) {
      memory.view(guest.at(page), 6).set([0xb8, value, 0, 0, 0, 0xc3]);
    }
    const call = (): bigint => {
      m.execute((a) => a.mov(rbx, BigInt(LINEAR)).call(rbx));
      return guest.gpr(0);
    };
    expect(call()).toBe(1n);
    m.move();
    expect(call()).toBe(1n);
    m.loadCr3(ROOT | 3n);
    expect(call()).toBe(2n);
    m.loadCr3(ROOT | KEEP);
    expect(call()).toBe(1n);
    m.loadCr3(ROOT);
    expect(call()).toBe(2n);
  });
});
