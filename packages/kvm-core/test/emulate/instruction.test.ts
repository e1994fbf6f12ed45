import { Assembler, CR0, EFER, qword, reg, RFLAGS, VECTOR, byte, dword } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { INTERRUPT_SHADOW, REG, SREG, type VcpuExit } from "../../src/contract/index.js";
import { emulateInstruction } from "../../src/emulate/instruction.js";
import { getCr8 } from "../../src/registers/control.js";
import type { KvmVcpu } from "../../src/vcpu.js";
import { CODE, describeExit, DEVICE, drive, flat, guest, STACK } from "../support/emulation.js";
import { scriptedVcpu } from "../support/scripted.js";

const { al, eax, ebx, ecx, rax, rbx } = reg;

const rip = (vcpu: KvmVcpu): bigint => vcpu.getRegs().rip - BigInt(CODE);

describe("emulating an access to a device", () => {
  it("writes a register, and has moved on when user space sees it", () => {
    const { vcpu, length } = guest((a) => a.mov(dword(ebx), eax));
    expect(emulateInstruction(vcpu)).toBe("user_exit");
    expect(describeExit(vcpu.exit as VcpuExit)).toBe("write 100000 4 44332211");
    expect(rip(vcpu)).toBe(length);
  });

  it("reads into a register when user space has answered, and not before", () => {
    const { vcpu, length } = guest((a) => a.mov(ecx, dword(ebx)));
    emulateInstruction(vcpu);
    expect(rip(vcpu)).toBe(0n);
    expect(vcpu.getRegs().rcx).toBe(2n);
    expect(drive(vcpu, [0x5a])).toEqual({ exits: ["read 100000 4"], result: "done" });
    expect(vcpu.getRegs().rcx).toBe(0x5a5a5a5an);
    expect(rip(vcpu)).toBe(length);
  });

  it("reads and then writes for a read-modify-write", () => {
    const { vcpu, stateOf } = guest((a) => a.add(byte(ebx), al));
    expect(drive(vcpu, [0xbc])).toEqual({ exits: ["read 100000 1", "write 100000 1 00"], result: "done" });
    expect(stateOf(vcpu).rflags & (RFLAGS.CF | RFLAGS.ZF)).toBe(RFLAGS.CF | RFLAGS.ZF);
  });

  it("asks for both halves where an access crosses from one page of a device to the next", () => {
    const { vcpu } = guest((a) => a.mov(ecx, dword(ebx, 0xffe)));
    expect(drive(vcpu, [0x11, 0x22])).toEqual({ exits: ["read 100ffe 2", "read 101000 2"], result: "done" });
    expect(vcpu.getRegs().rcx).toBe(0x22221111n);
  });

  it("pushes what it read from a device", () => {
    const { vcpu, vm } = guest((a) => a.push(dword(ebx)));
    expect(drive(vcpu, [7])).toEqual({ exits: ["read 100000 4"], result: "done" });
    expect([...vm.readGuest(Number(STACK) - 4, 4)]).toEqual([7, 7, 7, 7]);
    expect(vcpu.getRegs().rsp).toBe(STACK - 4n);
  });

  it("writes memory only when every read is done", () => {
    const { vcpu, vm } = guest((a) => a.push(dword(ebx)));
    emulateInstruction(vcpu);
    expect([...vm.readGuest(Number(STACK) - 4, 4)]).toEqual([0, 0, 0, 0]);
  });

  it("moves from device to device, an element at a time", () => {
    const { vcpu } = guest((a) => a.rep().movsb());
    vcpu.setRegs({ rsi: BigInt(DEVICE), rdi: BigInt(DEVICE + 0x100), rcx: 2n });
    expect(drive(vcpu, [0x41])).toEqual({ exits: ["read 100000 1", "write 100100 1 41"], result: "done" });
    expect(vcpu.getRegs()).toMatchObject({ rcx: 1n, rsi: BigInt(DEVICE + 1), rdi: BigInt(DEVICE + 0x101) });
    expect(rip(vcpu)).toBe(0n);
  });

  it("reaches the local APIC without user space", () => {
    const { vcpu } = guest((a) => a.mov(dword(ebx), eax));
    vcpu.setRegs({ rbx: 0xfee00080n, rax: 0x30n });
    expect(drive(vcpu)).toEqual({ exits: [], result: "done" });
    expect(getCr8(vcpu)).toBe(3n);
  });

  it("reads an interrupt controller once, though the instruction starts over", () => {
    const reads: number[] = [];
    const { vcpu, vm } = guest((a) => a.cmpsb());
    vm.buses.memory.attachKernel(0x200000, {
      name: "controller",
      size: 4,
      read(offset, data) {
        reads.push(offset);
        data.fill(9);
      },
      write: () => {},
    });
    vcpu.setRegs({ rsi: 0x200000n, rdi: BigInt(DEVICE) });
    expect(drive(vcpu, [9]).result).toBe("done");
    expect(reads).toEqual([0]);
  });
});

describe("emulating string input and output", () => {
  it("reads a port into memory", () => {
    const { vcpu, vm } = guest((a) => a.insb());
    vcpu.setRegs({ rdi: 0x5000n });
    expect(drive(vcpu, [0x42])).toEqual({ exits: ["in 3f8 1 00"], result: "done" });
    expect([...vm.readGuest(0x5000, 1)]).toEqual([0x42]);
  });

  it("writes memory to a port, backwards with DF", () => {
    const { vcpu, vm, stateOf } = guest((a) => a.rep().outsb());
    vm.writeGuest(0x5000, Uint8Array.of(0x31, 0x32));
    stateOf(vcpu).rflags = 2n | RFLAGS.DF;
    vcpu.setRegs({ rsi: 0x5001n, rcx: 2n });
    expect(drive(vcpu)).toEqual({ exits: ["out 3f8 1 32"], result: "done" });
    expect(vcpu.getRegs()).toMatchObject({ rsi: 0x5000n, rcx: 1n });
  });

  it("is refused without the privilege", () => {
    const { vcpu } = guest((a) => a.outsb(), { cpl: 3 });
    expect(drive(vcpu)).toEqual({ exits: [], result: "done" });
    expect(vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.GP });
  });
});

describe("what the emulator cannot do", () => {
  it("raises the page fault of a fetch", () => {
    const { vcpu } = guest((a) => a.nop());
    vcpu.arch.cr0 |= CR0.PG;
    vcpu.arch.cr3 = 0x8000n;
    vcpu.arch.regsAvail |= 1 << REG.CR3;
    expect(emulateInstruction(vcpu)).toBe("done");
    expect(vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.PF, errorCode: 0 });
    expect(vcpu.arch.cr2).toBe(BigInt(CODE));
  });

  it("stops the machine for the supervisor, and gives a program #UD", () => {
    const fetchFromDevice = guest((a) => a.nop());
    fetchFromDevice.vcpu.setRegs({ rip: BigInt(DEVICE) });
    expect(emulateInstruction(fetchFromDevice.vcpu)).toBe("fail");
    expect(fetchFromDevice.vcpu.exit).toEqual({ reason: "internal_error", suberror: "emulation", data: [] });
    const program = guest((a) => a.nop(), { cpl: 3 });
    program.vcpu.setRegs({ rip: BigInt(DEVICE) });
    expect(emulateInstruction(program.vcpu)).toBe("done");
    expect(program.vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.UD });
  });
});

describe("after an emulated instruction", () => {
  it("the interrupt shadow before it is over", () => {
    const { vcpu, stateOf } = guest((a) => a.mov(dword(ebx), eax));
    stateOf(vcpu).shadow = INTERRUPT_SHADOW.STI;
    drive(vcpu);
    expect(stateOf(vcpu).shadow).toBe(0);
  });

  it("a set trap flag traps", () => {
    const { vcpu, stateOf } = guest((a) => a.mov(dword(ebx), eax));
    stateOf(vcpu).rflags |= RFLAGS.TF;
    drive(vcpu);
    expect(vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.DB });
    expect(vcpu.arch.dr6 & 0x4000n).toBe(0x4000n);
  });

  it("only the registers that it changed are marked for the next entry", () => {
    const { vcpu } = guest((a) => a.mov(ecx, dword(ebx)));
    vcpu.arch.regsDirty = 0;
    drive(vcpu, [1]);
    expect(vcpu.arch.regsDirty).toBe((1 << REG.RCX) | (1 << REG.RIP));
  });
});

describe("skipping", () => {
  it("advances by the instruction's length", () => {
    const { vcpu, length } = guest((a) => a.mov(dword(ebx, 0x12345), 5));
    expect(emulateInstruction(vcpu, { skip: true })).toBe("done");
    expect(rip(vcpu)).toBe(length);
  });
});

describe("in 64-bit mode", () => {
  it("moves 8 bytes at once, by way of the guest's page tables, and checks that addresses are canonical", () => {
    const { vcpu, vm, stateOf } = scriptedVcpu();
    const a = new Assembler(64);
    a.mov(qword(rbx), rax);
    vm.writeGuest(CODE, a.assemble(CODE).bytes);
    // 2-MiB pages, identical: PML4 at 0x8000, PDPT at 0x9000, page directory at 0xa000.
    const entry = (at: number, value: bigint): void => {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, value, true);
      vm.writeGuest(at, bytes);
    };
    entry(0x8000, 0x9003n);
    entry(0x9000, 0xa003n);
    entry(0xa000, 0x83n);
    stateOf(vcpu).segments.set(SREG.CS, { ...flat(8, 11), l: true, db: false });
    vcpu.arch.cr0 |= CR0.PE | CR0.PG;
    vcpu.arch.cr4 = 0x20n;
    vcpu.arch.efer = EFER.LME | EFER.LMA;
    vcpu.arch.cr3 = 0x8000n;
    vcpu.arch.regsAvail |= 1 << REG.CR3;
    vcpu.setRegs({ rip: BigInt(CODE), rbx: BigInt(DEVICE), rax: 0x1122334455667788n });
    expect(drive(vcpu)).toEqual({ exits: ["write 100000 8 8877665544332211"], result: "done" });
    expect(vcpu.translate(BigInt(CODE))).toEqual({ physical: CODE, writable: true, usermode: false });
    expect(vcpu.translate(0x40000000n)).toBeUndefined();
    vcpu.setRegs({ rip: BigInt(CODE), rbx: 0x8000_0000_0000_0000n });
    expect(drive(vcpu).exits).toEqual([]);
    expect(vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.GP });
  });
});
