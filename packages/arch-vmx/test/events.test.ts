import { INTERRUPT_SHADOW, REQUEST } from "@tapvisor/kvm-core/contract";
import { CPU_BASED, CR0, INTERRUPTIBILITY, INTR_INFO, VMCS } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { toVmx } from "../src/vcpu-vmx.js";
import { TestMachine } from "./support/machine.js";

const INFO = VMCS.VM_ENTRY_INTR_INFO_FIELD;
const STATE = VMCS.GUEST_INTERRUPTIBILITY_INFO;

describe("an event for the next entry", () => {
  it("is an external or a software interrupt", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    Object.assign(vcpu.arch.interrupt, { pending: true, soft: false, nr: 0x31 });
    machine.ops.set_irq(vcpu);
    expect(machine.cpu().field(INFO)).toBe(0x80000031n);
    Object.assign(vcpu.arch.interrupt, { soft: true, nr: 0x80 });
    vcpu.arch.eventExitInstLen = 2;
    machine.ops.set_irq(vcpu);
    expect(machine.cpu().field(INFO)).toBe(0x80000480n);
    expect(machine.cpu().field(VMCS.VM_ENTRY_INSTRUCTION_LEN)).toBe(2n);
  });

  it("is an NMI", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.ops.set_nmi(vcpu);
    expect(machine.cpu().field(INFO)).toBe(0x80000202n);
  });

  it("is an exception, with its error code in protected mode alone", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.ops.queue_exception(vcpu, 13, true, 0x18, false);
    expect(machine.cpu().field(INFO)).toBe(0x8000030dn);
    vcpu.arch.cr0 |= CR0.PE;
    machine.ops.queue_exception(vcpu, 13, true, 0x18, false);
    expect(machine.cpu().field(INFO)).toBe(0x80000b0dn);
    expect(machine.cpu().field(VMCS.VM_ENTRY_EXCEPTION_ERROR_CODE)).toBe(0x18n);
  });

  it("is #BP with the length of its instruction", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    vcpu.arch.eventExitInstLen = 1;
    machine.ops.queue_exception(vcpu, 3, false, 0, true);
    expect(machine.cpu().field(INFO)).toBe(0x80000603n);
    expect(machine.cpu().field(VMCS.VM_ENTRY_INSTRUCTION_LEN)).toBe(1n);
  });

  it("goes back to the queues when the entry is called off", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    vcpu.arch.cr0 |= CR0.PE;
    machine.ops.queue_exception(vcpu, 14, true, 7, false);
    machine.kvm.calls.length = 0;
    machine.ops.cancel_injection(vcpu);
    expect(machine.kvm.calls).toContain("requeueExceptionE 14 7");
    expect(machine.cpu().field(INFO)).toBe(0n);
  });
});

describe("an event whose delivery an exit interrupted", () => {
  const exitDuring = (vectoring: bigint, errorCode = 0n) => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    vcpu.arch.requests = 0;
    machine.run(vcpu, 48, {
      [VMCS.IDT_VECTORING_INFO_FIELD]: vectoring,
      [VMCS.IDT_VECTORING_ERROR_CODE]: errorCode,
      [VMCS.VM_EXIT_INSTRUCTION_LEN]: 2n,
    });
    return { machine, vcpu, calls: machine.kvm.calls.slice(2) };
  };

  it("is queued again: interrupt, software interrupt, exception", () => {
    expect(exitDuring(0x80000031n).calls).toEqual(["queueInterrupt 49 false"]);
    const soft = exitDuring(0x80000480n);
    expect(soft.calls).toEqual(["queueInterrupt 128 true"]);
    expect(soft.vcpu.arch.eventExitInstLen).toBe(2);
    expect(soft.vcpu.arch.requests & (1 << REQUEST.EVENT)).not.toBe(0);
    expect(exitDuring(0x80000b0en, 5n).calls).toEqual(["requeueExceptionE 14 5"]);
    expect(exitDuring(0x80000603n).calls).toEqual(["requeueException 3"]);
  });

  it("is an NMI that does not block yet", () => {
    const { machine, vcpu } = exitDuring(0x80000202n);
    expect(vcpu.arch.nmiInjected).toBe(true);
    expect(machine.ops.get_nmi_mask(vcpu)).toBe(false);
    expect(machine.cpu().field(STATE)).toBe(0n);
  });

  it("is nothing when the delivery was complete", () => {
    expect(exitDuring(0n).calls).toEqual([]);
  });
});

describe("what blocks events", () => {
  it("lets an interrupt through with IF and without shadow", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    expect(machine.ops.interrupt_allowed(vcpu)).toBe(false);
    machine.ops.set_rflags(vcpu, 0x202n);
    expect(machine.ops.interrupt_allowed(vcpu)).toBe(true);
    machine.ops.set_interrupt_shadow(vcpu, INTERRUPT_SHADOW.STI);
    expect(machine.ops.interrupt_allowed(vcpu)).toBe(false);
    expect(machine.ops.nmi_allowed(vcpu)).toBe(false);
    expect(machine.ops.get_interrupt_shadow(vcpu)).toBe(INTERRUPT_SHADOW.STI);
  });

  it("never has both shadows, which an entry refuses", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.ops.set_interrupt_shadow(vcpu, INTERRUPT_SHADOW.STI | INTERRUPT_SHADOW.MOV_SS);
    expect(machine.cpu().field(STATE)).toBe(BigInt(INTERRUPTIBILITY.MOV_SS));
  });

  it("masks NMIs in the VMCS with virtual NMIs", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.ops.set_nmi_mask(vcpu, true);
    expect(machine.ops.nmi_allowed(vcpu)).toBe(false);
    expect(machine.ops.get_nmi_mask(vcpu)).toBe(true);
    machine.ops.set_nmi_mask(vcpu, false);
    expect(machine.ops.nmi_allowed(vcpu)).toBe(true);
  });

  it("blocks NMIs again when the IRET that ended an NMI handler faulted", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.run(vcpu, 0, { [VMCS.VM_EXIT_INTR_INFO]: 0x80000b0en | BigInt(INTR_INFO.NMI_UNBLOCKING) });
    expect(machine.cpu().field(STATE)).toBe(BigInt(INTERRUPTIBILITY.NMI));
  });
});

describe("without virtual NMIs", () => {
  const machineWithout = () => new TestMachine({ prepare: (cpu) => cpu.withoutPinControls("VIRTUAL_NMIS") });

  it("blocking is kept by hand until the guest turns interrupts on", () => {
    const machine = machineWithout();
    const vcpu = machine.vcpu();
    machine.ops.set_nmi(vcpu);
    expect(machine.ops.nmi_allowed(vcpu)).toBe(false);
    machine.exit(vcpu, "CPUID");
    expect(machine.ops.nmi_allowed(vcpu)).toBe(false);
    machine.cpu().fields.set(VMCS.GUEST_RFLAGS, 0x202n);
    machine.exit(vcpu, "CPUID");
    expect(machine.ops.nmi_allowed(vcpu)).toBe(true);
  });

  it("blocking ends after a second with an NMI waiting", () => {
    const machine = machineWithout();
    const vcpu = machine.vcpu();
    machine.ops.set_nmi(vcpu);
    vcpu.arch.nmiPending = 1;
    const cpu = machine.cpu();
    cpu.enter = () => {
      machine.now += 600_000_000;
      cpu.fields.set(VMCS.VM_EXIT_REASON, 10n);
      return 0;
    };
    machine.ops.run(vcpu);
    machine.ops.handle_exit(vcpu);
    expect(toVmx(vcpu).softVnmiBlocked).toBe(true);
    machine.ops.run(vcpu);
    machine.ops.handle_exit(vcpu);
    expect(toVmx(vcpu).softVnmiBlocked).toBe(false);
  });

  it("the NMI window is the interrupt window", () => {
    const machine = machineWithout();
    const vcpu = machine.vcpu();
    expect(machine.watch(() => machine.ops.enable_nmi_window(vcpu))).toContain("backend enable_irq_window");
    expect(machine.cpu().field(VMCS.CPU_BASED_VM_EXEC_CONTROL) & BigInt(CPU_BASED.INTERRUPT_WINDOW_EXITING)).not.toBe(
      0n,
    );
  });
});

describe("windows", () => {
  it("open with a control and close at their exit, which asks for the events", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const controls = () => Number(machine.cpu().field(VMCS.CPU_BASED_VM_EXEC_CONTROL));
    machine.ops.enable_irq_window(vcpu);
    machine.ops.enable_nmi_window(vcpu);
    expect(controls() & CPU_BASED.INTERRUPT_WINDOW_EXITING).not.toBe(0);
    expect(controls() & CPU_BASED.NMI_WINDOW_EXITING).not.toBe(0);
    vcpu.arch.requests = 0;
    expect(machine.exit(vcpu, "INTERRUPT_WINDOW")).toBe(true);
    expect(controls() & CPU_BASED.INTERRUPT_WINDOW_EXITING).toBe(0);
    expect(vcpu.arch.requests & (1 << REQUEST.EVENT)).not.toBe(0);
    expect(machine.exit(vcpu, "NMI_WINDOW")).toBe(true);
    expect(controls() & CPU_BASED.NMI_WINDOW_EXITING).toBe(0);
  });
});
