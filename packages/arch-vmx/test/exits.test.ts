import { DEBUGREG, GUESTDBG, REG } from "@tapvisor/kvm-core/contract";
import { CPU_BASED, CR0, DR6, DR7, EXIT_REASON, MSR, VMCS } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { TestMachine } from "./support/machine.js";

const QUALIFICATION = VMCS.EXIT_QUALIFICATION;
const INTR_INFO = VMCS.VM_EXIT_INTR_INFO;

describe("an exit", () => {
  it("takes the general registers and CR2 from the processor, and gives them back at the next entry", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const cpu = machine.cpu();
    vcpu.arch.regs.u64[REG.RAX] = 0x1122334455667788n;
    vcpu.arch.cr2 = 0xffff800000001000n;
    cpu.enter = () => {
      expect([cpu.gprs[0], cpu.gprs[1]]).toEqual([0x55667788, 0x11223344]);
      expect([cpu.cr2[0], cpu.cr2[1]]).toEqual([0x00001000, 0xffff8000]);
      cpu.gprs[2] = 7;
      cpu.cr2[0] = 0x2000;
      cpu.fields.set(VMCS.VM_EXIT_REASON, 10n);
      return 0;
    };
    machine.ops.run(vcpu);
    expect(vcpu.arch.regs.u64[REG.RCX]).toBe(7n);
    expect(vcpu.arch.cr2).toBe(0xffff800000002000n);
    expect(cpu.log.at(-1)).toBe("vmlaunch");
    cpu.enter = undefined;
    machine.ops.run(vcpu);
    expect(cpu.log.at(-1)).toBe("vmresume");
  });

  it("by CPUID or a port makes no bigint, from the entry to the end of its handler", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const cpu = machine.cpu();
    machine.exit(vcpu, "CPUID");
    cpu.enter = () => 0;
    cpu.bigintReads = 0;
    for (const reason of [10n, 30n, 48n]) {
      cpu.fields.set(VMCS.VM_EXIT_REASON, reason);
      machine.ops.run(vcpu);
      machine.ops.handle_exit(vcpu);
    }
    expect(cpu.bigintReads).toBe(0);
  });

  it("skips the instruction and its interrupt shadow", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const cpu = machine.cpu();
    machine.exit(vcpu, "WBINVD", { [VMCS.GUEST_RIP]: 0xfffffffen, [VMCS.GUEST_INTERRUPTIBILITY_INFO]: 1n });
    machine.ops.skip_emulated_instruction(vcpu);
    expect(cpu.field(VMCS.GUEST_INTERRUPTIBILITY_INFO)).toBe(0n);
    // EIP wraps outside 64-bit mode.
    expect(vcpu.arch.regs.u64[REG.RIP]).toBe(0n);
    machine.exit(vcpu, "CPUID");
    expect(cpu.field(VMCS.GUEST_RIP)).toBe(0n);
  });

  it("carries into the upper half of RIP in 64-bit mode", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.ops.set_efer(vcpu, 0x500n);
    machine.exit(vcpu, "WBINVD", { [VMCS.GUEST_RIP]: 0xffff8000fffffffen, [VMCS.GUEST_CS_AR_BYTES]: 0xa09bn });
    machine.ops.skip_emulated_instruction(vcpu);
    expect(vcpu.arch.regs.u64[REG.RIP]).toBe(0xffff800100000000n);
  });

  it("by a host interrupt has its handler called once", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.run(vcpu, 1, { [INTR_INFO]: 0x800000efn });
    machine.ops.handle_external_intr(vcpu);
    expect(machine.kvm.calls.filter((call) => call.startsWith("hostInterrupt"))).toEqual(["hostInterrupt 239"]);
    expect(machine.ops.handle_exit(vcpu)).toBe(true);
    machine.run(vcpu, 10);
    machine.ops.handle_external_intr(vcpu);
    expect(machine.kvm.calls.filter((call) => call.startsWith("hostInterrupt"))).toHaveLength(1);
  });

  it("by an NMI or a machine check of the host is told to the host in run", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    expect(machine.exit(vcpu, "EXCEPTION_NMI", { [INTR_INFO]: 0x80000202n })).toBe(true);
    expect(machine.exit(vcpu, "EXCEPTION_NMI", { [INTR_INFO]: 0x80000312n })).toBe(true);
    expect(machine.kvm.calls.filter((call) => call.startsWith("hostInterrupt"))).toEqual([
      "hostInterrupt 2",
      "hostInterrupt 18",
    ]);
  });

  it("of a failed entry goes to user space with the reason and the VMCS", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.run(vcpu, 0x80000021);
    expect(machine.ops.handle_exit(vcpu)).toBe(false);
    expect(vcpu.exit).toMatchObject({ reason: "fail_entry", hardwareEntryFailureReason: 0x80000021 });
  });

  it("during event delivery that no page can mend is an internal error", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    expect(machine.exit(vcpu, "EPT_MISCONFIG", { [VMCS.IDT_VECTORING_INFO_FIELD]: 0x80000031n })).toBe(false);
    expect(vcpu.exit).toEqual({ reason: "internal_error", suberror: "delivery_ev", data: [0x80000031n, 49n] });
  });

  it("that no control asked for is #UD to the guest", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    expect(machine.exit(vcpu, "RDRAND")).toBe(true);
    expect(machine.exit(vcpu, "VMXON")).toBe(true);
    expect(machine.kvm.calls.filter((call) => call === "queueException 6")).toHaveLength(2);
  });

  it("by a triple fault is a shutdown", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    expect(machine.exit(vcpu, "TRIPLE_FAULT")).toBe(false);
    expect(vcpu.exit).toEqual({ reason: "shutdown" });
  });
});

describe("ports and memory", () => {
  it("are single accesses without decoding, and strings with it", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.exit(vcpu, "IO_INSTRUCTION", { [QUALIFICATION]: (0x3f8n << 16n) | 0n });
    machine.exit(vcpu, "IO_INSTRUCTION", { [QUALIFICATION]: (0xf4n << 16n) | 8n | 3n });
    machine.exit(vcpu, "IO_INSTRUCTION", { [QUALIFICATION]: (0xe0n << 16n) | 16n });
    const ports = machine.kvm.calls.filter((call) => /fastPio|emulate/.test(call));
    expect(ports).toEqual(["fastPio out 1 0x3f8", "fastPio in 4 0xf4", "emulateInstruction {}"]);
  });

  it("are page faults of the MMU by the qualification of an EPT violation", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const violation = (qualification: bigint) =>
      machine.exit(vcpu, "EPT_VIOLATION", {
        [QUALIFICATION]: 0x180n | qualification,
        [VMCS.GUEST_PHYSICAL_ADDRESS]: 0x12_3456_7000n,
      });
    violation(1n);
    violation(2n | 8n);
    violation(4n);
    const faults = machine.kvm.calls.filter((call) => call.startsWith("mmuPageFault"));
    expect(faults).toEqual([
      "mmuPageFault 0x1234567000 4",
      "mmuPageFault 0x1234567000 3",
      "mmuPageFault 0x1234567000 16",
    ]);
  });

  it("that are MMIO are emulated", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.kvm.emulation = ["done", "user_exit"];
    const misconfig = () => machine.exit(vcpu, "EPT_MISCONFIG", { [VMCS.GUEST_PHYSICAL_ADDRESS]: 0xfee00020n });
    expect(misconfig()).toBe(true);
    expect(misconfig()).toBe(false);
    expect(machine.kvm.calls).toContain("emulateInstruction {}");
  });
});

describe("control registers", () => {
  it("are written, read, cleared and loaded by what the qualification says", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    vcpu.arch.regs.u64[REG.RBX] = 0x80000011n;
    vcpu.arch.cr3 = 0x7000n;
    machine.exit(vcpu, "CR_ACCESS", { [QUALIFICATION]: 0x300n });
    machine.exit(vcpu, "CR_ACCESS", { [QUALIFICATION]: 0x313n });
    expect(vcpu.arch.regs.u64[REG.RBX]).toBe(0x7000n);
    machine.exit(vcpu, "CR_ACCESS", { [QUALIFICATION]: 0x30n | (0x9n << 16n) });
    expect(machine.kvm.calls.filter((call) => /^(setCr0|lmsw)/.test(call))).toEqual(["setCr0 2147483665", "lmsw 9"]);
    vcpu.arch.cr0 |= CR0.TS;
    machine.cpu().fields.set(VMCS.GUEST_CR0, machine.cpu().field(VMCS.GUEST_CR0) | CR0.TS);
    machine.exit(vcpu, "CR_ACCESS", { [QUALIFICATION]: 0x20n });
    expect(vcpu.arch.cr0 & CR0.TS).toBe(0n);
    expect(machine.cpu().field(VMCS.GUEST_CR0) & CR0.TS).toBe(0n);
  });
});

describe("debug registers", () => {
  it("are given to the guest at the first access, and read back after the next exit", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const cpu = machine.cpu();
    expect(machine.exit(vcpu, "DR_ACCESS", { [QUALIFICATION]: 7n })).toBe(true);
    expect(vcpu.arch.switchDbRegs).toBe(DEBUGREG.WONT_EXIT);
    expect(cpu.field(VMCS.CPU_BASED_VM_EXEC_CONTROL) & BigInt(CPU_BASED.MOV_DR_EXITING)).toBe(0n);
    cpu.drs.set(1, 0x1234n);
    cpu.fields.set(VMCS.GUEST_DR7, 0x401n);
    machine.ops.sync_dirty_debug_regs(vcpu);
    expect(vcpu.arch.db[1]).toBe(0x1234n);
    expect(vcpu.arch.dr7).toBe(0x401n);
    expect(vcpu.arch.switchDbRegs).toBe(0);
    expect(cpu.field(VMCS.CPU_BASED_VM_EXEC_CONTROL) & BigInt(CPU_BASED.MOV_DR_EXITING)).not.toBe(0n);
  });

  it("raise the general-detect fault", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.exit(vcpu, "DR_ACCESS", { [QUALIFICATION]: 0n, [VMCS.GUEST_DR7]: DR7.GD });
    expect(vcpu.arch.dr6 & DR6.BD).toBe(DR6.BD);
    expect(machine.kvm.calls).toContain("queueException 1");
  });
});

describe("a guest that steps", () => {
  const TF = 0x102n;

  it("meets the trap after an instruction that was emulated for it, but not with BTF, nor through a task switch", () => {
    const step = (reason: "WBINVD" | "TASK_SWITCH", debugctl: bigint): string[] => {
      const machine = new TestMachine();
      const vcpu = machine.vcpu();
      machine.run(vcpu, EXIT_REASON[reason], { [VMCS.GUEST_RFLAGS]: TF, [VMCS.GUEST_IA32_DEBUGCTL]: debugctl });
      machine.kvm.calls.length = 0;
      machine.ops.skip_emulated_instruction(vcpu);
      expect(vcpu.arch.dr6 & DR6.BS).toBe(machine.kvm.calls.length === 0 ? 0n : DR6.BS);
      return machine.kvm.calls;
    };
    expect(step("WBINVD", 0n)).toEqual(["queueException 1"]);
    expect(step("WBINVD", 2n)).toEqual([]);
    expect(step("TASK_SWITCH", 0n)).toEqual([]);
  });

  it("keeps the trap pending in an interrupt shadow, as the entry wants it", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const trap = { [INTR_INFO]: 0x80000301n, [QUALIFICATION]: DR6.BS, [VMCS.GUEST_RFLAGS]: TF };
    machine.exit(vcpu, "EXCEPTION_NMI", trap);
    expect(machine.cpu().field(VMCS.GUEST_PENDING_DBG_EXCEPTIONS)).toBe(0n);
    machine.exit(vcpu, "EXCEPTION_NMI", { ...trap, [VMCS.GUEST_INTERRUPTIBILITY_INFO]: 1n });
    expect(machine.cpu().field(VMCS.GUEST_PENDING_DBG_EXCEPTIONS)).toBe(DR6.BS);
  });
});

describe("exceptions", () => {
  it("are the guest's: #AC with its code, #DB with DR6, INT1 past its instruction", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.exit(vcpu, "EXCEPTION_NMI", { [INTR_INFO]: 0x80000b11n, [VMCS.VM_EXIT_INTR_ERROR_CODE]: 0n });
    machine.exit(vcpu, "EXCEPTION_NMI", { [INTR_INFO]: 0x80000301n, [QUALIFICATION]: DR6.BS | 1n });
    expect(vcpu.arch.dr6 & (DR6.BS | 0xfn)).toBe(DR6.BS | 1n);
    machine.exit(vcpu, "EXCEPTION_NMI", { [INTR_INFO]: 0x80000501n, [QUALIFICATION]: 0n, [VMCS.GUEST_RIP]: 0x100n });
    expect(vcpu.arch.regs.u64[REG.RIP]).toBe(0x102n);
    expect(machine.kvm.calls.filter((call) => call.startsWith("queueException"))).toEqual([
      "queueExceptionE 17 0",
      "queueException 1",
      "queueException 1",
    ]);
  });

  it("are the debugger's when one is attached", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    vcpu.arch.guestDebug = GUESTDBG.ENABLE | GUESTDBG.SINGLESTEP;
    machine.exit(vcpu, "EXCEPTION_NMI", { [INTR_INFO]: 0x80000301n, [QUALIFICATION]: DR6.BS, [VMCS.GUEST_RIP]: 0x20n });
    expect(vcpu.exit).toMatchObject({ reason: "debug", exception: 1, pc: 0xffff0020n });
  });

  it("are emulated when it is #UD, and the guest's when that has no effect", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.kvm.emulation = ["done", "fail"];
    machine.exit(vcpu, "EXCEPTION_NMI", { [INTR_INFO]: 0x80000306n });
    expect(machine.kvm.calls).not.toContain("queueException 6");
    machine.exit(vcpu, "EXCEPTION_NMI", { [INTR_INFO]: 0x80000306n });
    expect(machine.kvm.calls).toContain("queueException 6");
  });
});

describe("MSR accesses", () => {
  it("are #GP where they are refused", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    vcpu.arch.regs.u64[REG.RCX] = 0x12345n;
    machine.exit(vcpu, "MSR_READ");
    machine.exit(vcpu, "MSR_WRITE");
    expect(machine.kvm.calls.filter((call) => call === "injectGp 0")).toHaveLength(2);
  });

  it("move EDX:EAX, and clear the upper halves", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const { u64 } = vcpu.arch.regs;
    u64[REG.RCX] = BigInt(MSR.IA32_GS_BASE);
    u64[REG.RAX] = 0xffffffff_89abcdefn;
    u64[REG.RDX] = 0xffffffff_ffff8000n;
    machine.exit(vcpu, "MSR_WRITE");
    expect(machine.cpu().field(VMCS.GUEST_GS_BASE)).toBe(0xffff8000_89abcdefn);
    machine.exit(vcpu, "MSR_READ");
    expect([u64[REG.RAX], u64[REG.RDX]]).toEqual([0x89abcdefn, 0xffff8000n]);
  });
});

describe("task switches", () => {
  it("through a task gate take the event that caused them out of the queue", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.exit(vcpu, "TASK_SWITCH", {
      [QUALIFICATION]: (3n << 30n) | 0x28n,
      [VMCS.IDT_VECTORING_INFO_FIELD]: 0x80000b0en,
      [VMCS.IDT_VECTORING_ERROR_CODE]: 2n,
    });
    expect(machine.kvm.calls.slice(-2)).toEqual(["clearExceptionQueue", "taskSwitch 40 -1 3 2"]);
    machine.exit(vcpu, "TASK_SWITCH", { [QUALIFICATION]: (2n << 30n) | 0x30n, [VMCS.GUEST_RIP]: 0x40n });
    expect(machine.kvm.calls.at(-1)).toBe("taskSwitch 48 -1 2 none");
    expect(vcpu.arch.regs.u64[REG.RIP]).toBe(0x42n);
  });
});
