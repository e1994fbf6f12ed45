import { type Assembler, CR4, DR6, dword, reg, RFLAGS, VECTOR } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { INTERRUPT_SHADOW } from "../../src/contract/index.js";
import { CODE, drive, guest } from "../support/emulation.js";

const { ax, eax, ebx, ecx, ss } = reg;
const PREFIX_BYTES = 5n;
const START = BigInt(CODE);
const ON = { forceEmulationPrefix: true };

/** An intercepted #UD of UD2 and "kvm" before `instruction`. */
function forced(instruction: (a: Assembler) => void, options = ON) {
  const made = guest(
    (a) => {
      a.ud2().db(0x6b, 0x76, 0x6d);
      instruction(a);
    },
    { options },
  );
  return { ...made, run: (answers?: readonly number[]) => drive(made.vcpu, answers, { trapUd: true }) };
}

describe("the forced-emulation prefix", () => {
  it("has the instruction behind it emulated", () => {
    const { vcpu, length, run } = forced((a) => a.add(eax, ecx));
    expect(run()).toEqual({ exits: [], result: "done" });
    expect(vcpu.getRegs()).toMatchObject({ rip: START + length, rax: 0x11223346n });
  });

  it("is an undefined instruction unless the host has the option on", () => {
    const { vcpu, run } = forced((a) => a.add(eax, ecx), { forceEmulationPrefix: false });
    expect(run().result).toBe("fail");
    expect(vcpu.getRegs().rip).toBe(START);
  });

  it("is none when it is cut short, or another", () => {
    for (const bytes of [
      [0x0f, 0x0b, 0x6b, 0x76],
      [0x0f, 0x0b, 0x78, 0x65, 0x6e],
    ]) {
      const { vcpu, vm } = guest(() => undefined, { options: ON });
      vm.writeGuest(CODE, Uint8Array.from([...bytes, 0x90]));
      expect(drive(vcpu, [], { trapUd: true }).result).toBe("fail");
    }
  });

  it("has faults reported at the instruction itself", () => {
    const { vcpu, run } = forced((a) => a.mov(ss, ax));
    vcpu.setRegs({ rax: 0n });
    expect(run().result).toBe("done");
    expect(vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.GP, errorCode: 0 });
    expect(vcpu.getRegs().rip).toBe(START + PREFIX_BYTES);
  });

  it("raises #UD at what no emulator knows", () => {
    const { vcpu, run } = forced((a) => a.ud2());
    expect(run().result).toBe("done");
    expect(vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.UD });
    expect(vcpu.getRegs().rip).toBe(START + PREFIX_BYTES);
  });

  it("lets the instruction reach a device, across an exit", () => {
    const { vcpu, length, run } = forced((a) => a.mov(ecx, dword(ebx)));
    expect(run([0x5a])).toEqual({ exits: ["read 100000 4"], result: "done" });
    expect(vcpu.getRegs()).toMatchObject({ rip: START + length, rcx: 0x5a5a5a5an });
  });

  it("does not do what works on registers that stay with the processor", () => {
    const { vcpu, run } = forced((a) => a.db(0x0f, 0x01, 0xf9));
    run();
    expect(vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.UD });
  });

  it("leaves a hypercall to the processor", () => {
    const { vcpu, run } = forced((a) => a.db(0x0f, 0x01, 0xc1));
    expect(run().result).toBe("done");
    expect(vcpu.arch.exception.pending).toBe(false);
    expect(vcpu.getRegs().rip).toBe(START + PREFIX_BYTES);
  });

  it("loads XCR0, or refuses what it does not take", () => {
    for (const [value, fault] of [
      [3n, undefined],
      [2n, VECTOR.GP],
    ] as const) {
      const { vcpu, run } = forced((a) => a.db(0x0f, 0x01, 0xd1));
      vcpu.arch.cr4 |= CR4.OSXSAVE;
      vcpu.arch.guestSupportedXcr0 = 3n;
      vcpu.setRegs({ rax: value, rcx: 0n, rdx: 0n });
      run();
      expect(vcpu.arch.xcr0).toBe(fault === undefined ? value : 1n);
      expect(vcpu.arch.exception).toMatchObject(
        fault === undefined ? { pending: false } : { pending: true, nr: fault },
      );
    }
  });

  it("single-steps the instruction behind it", () => {
    const { vcpu, stateOf, run } = forced((a) => a.nop());
    stateOf(vcpu).rflags |= RFLAGS.TF;
    run();
    expect(vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.DB });
    expect(vcpu.arch.dr6 & DR6.BS).toBe(DR6.BS);
  });
});

describe("a breakpoint at an emulated instruction", () => {
  const atBreakpoint = () => {
    const made = forced((a) => a.add(eax, ecx));
    made.vcpu.arch.db[0] = START + PREFIX_BYTES;
    made.vcpu.arch.dr7 = 0x402n;
    return made;
  };

  it("comes before it", () => {
    const { vcpu, run } = atBreakpoint();
    expect(run().result).toBe("done");
    expect(vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.DB });
    expect(vcpu.arch.dr6 & 0xfn).toBe(DR6.B0);
    expect(vcpu.getRegs().rip).toBe(START + PREFIX_BYTES);
  });

  it("is inhibited by RF, which ends with the instruction", () => {
    const { vcpu, stateOf, run } = atBreakpoint();
    stateOf(vcpu).rflags |= RFLAGS.RF;
    run();
    expect(vcpu.arch.exception.pending).toBe(false);
    expect(stateOf(vcpu).rflags & RFLAGS.RF).toBe(0n);
  });

  it("is inhibited in the shadow of MOV SS", () => {
    const { vcpu, stateOf, run } = atBreakpoint();
    stateOf(vcpu).shadow = INTERRUPT_SHADOW.MOV_SS;
    run();
    expect(vcpu.arch.exception.pending).toBe(false);
    expect(stateOf(vcpu).shadow).toBe(0);
  });
});
