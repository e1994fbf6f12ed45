import { KvmError, type KvmX86Ops } from "@tapvisor/kvm-core/contract";
import { CPU_BASED, CPUID, CR4, FEATURE_CONTROL, MSR, PIN_BASED, SECONDARY_EXEC } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { VM_FAIL_INVALID } from "../src/processor.js";
import { adjustVmxControls, setupVmcsConfig } from "../src/vmcs/config.js";
import { FakeVmxProcessor } from "./support/fake-processor.js";
import { TestMachine } from "./support/machine.js";

function failure(work: () => unknown): KvmError {
  try {
    work();
  } catch (error) {
    if (error instanceof KvmError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("registration", () => {
  it("is refused with EOPNOTSUPP by a processor without VMX", () => {
    const machine = new TestMachine({ prepare: (cpu) => cpu.features.delete(CPUID.VMX) });
    expect(failure(() => machine.init()).code).toBe("EOPNOTSUPP");
  });

  it("is refused with EOPNOTSUPP when the firmware locked VMXON off, and not when it left the lock open", () => {
    const withControl = (value: bigint) =>
      new TestMachine({ prepare: (cpu) => cpu.msrs.set(MSR.IA32_FEATURE_CONTROL, value) });
    expect(failure(() => withControl(FEATURE_CONTROL.LOCKED).init()).message).toMatch(/disabled by the firmware/);
    expect(
      failure(() => withControl(FEATURE_CONTROL.LOCKED | FEATURE_CONTROL.VMXON_ENABLED_INSIDE_SMX).init()).code,
    ).toBe("EOPNOTSUPP");
    expect(() => withControl(0n).init()).not.toThrow();
  });

  it("is refused with EIO that names the MSR and the bits when a required control is missing", () => {
    const machine = new TestMachine({
      prepare: (cpu) => {
        cpu.forbid(MSR.IA32_VMX_PROCBASED_CTLS, CPU_BASED.HLT_EXITING);
      },
    });
    const error = failure(() => machine.init());
    expect(error.code).toBe("EIO");
    expect(error.message).toContain("IA32_VMX_PROCBASED_CTLS");
    expect(error.message).toContain("0x80");
  });

  it("is refused with EIO when another processor has fewer capabilities, and gives every page back", () => {
    const machine = new TestMachine({ processors: 2 });
    const before = machine.memory.free.length;
    machine.cpu(1).forbid(MSR.IA32_VMX_PROCBASED_CTLS2, SECONDARY_EXEC.ENABLE_VPID);
    expect(failure(() => machine.init()).code).toBe("EIO");
    expect(machine.memory.free.length).toBe(before);
  });

  it("takes bitmaps and a VMXON region a processor, with the revision identifier, and gives them back", () => {
    const machine = new TestMachine({ processors: 2 });
    const before = machine.memory.free.length;
    machine.init().enable();
    expect(before - machine.memory.free.length).toBe(7 + 2);
    for (const cpu of machine.cpus) {
      const region = Number(cpu.log.find((entry) => entry.startsWith("vmxon"))?.split(" ")[1]);
      expect(machine.memory.readU32(region)).toBe(0x1234);
    }
    machine.ops.hardware_unsetup();
    expect(machine.memory.free.length).toBe(before);
  });
});

describe("controls", () => {
  it("are what is wanted, where it may be 1, and what must be 1", () => {
    const cpu = new FakeVmxProcessor(0);
    cpu.msrs.set(0x481, (0b1110n << 32n) | 0b1000n);
    expect(adjustVmxControls(cpu, 0b0010, 0b0101, 0x481)).toBe(0b1110);
  });

  it("do not exit on CR3 and INVLPG with EPT, and do without", () => {
    const paging = CPU_BASED.CR3_LOAD_EXITING | CPU_BASED.CR3_STORE_EXITING | CPU_BASED.INVLPG_EXITING;
    const cpu = new FakeVmxProcessor(0);
    expect(setupVmcsConfig(cpu).cpuBased & paging).toBe(0);
    cpu.forbid(MSR.IA32_VMX_PROCBASED_CTLS2, SECONDARY_EXEC.ENABLE_EPT);
    expect(setupVmcsConfig(cpu).cpuBased & paging).toBe(paging);
  });

  it("leave the preemption timer off on a processor whose timer is broken", () => {
    class Broken extends FakeVmxProcessor {
      override cpuid(leaf: number, subleaf: number) {
        return { ...super.cpuid(leaf, subleaf), eax: 0x106a5 };
      }
    }
    expect(setupVmcsConfig(new Broken(0)).pinBased & PIN_BASED.VMX_PREEMPTION_TIMER).toBe(0);
    expect(setupVmcsConfig(new FakeVmxProcessor(0)).pinBased & PIN_BASED.VMX_PREEMPTION_TIMER).not.toBe(0);
  });
});

describe("optional ops", () => {
  const absent = (machine: TestMachine): string[] => {
    const ops = machine.ops as Partial<KvmX86Ops>;
    return (
      [
        "set_apic_access_page_addr", "update_cr8_intercept", "slot_enable_log_dirty", "slot_disable_log_dirty",
        "flush_log_dirty", "enable_log_dirty_pt_masked", "set_hv_timer", "cancel_hv_timer", "setup_mce",
      ] as const
    ).filter((name) => ops[name] === undefined); // prettier-ignore
  };

  it("are absent without FlexPriority, TPR shadow and page-modification logging, as in 4.9", () => {
    expect(absent(new TestMachine().init())).toEqual([
      "set_apic_access_page_addr", "update_cr8_intercept", "slot_enable_log_dirty", "slot_disable_log_dirty",
      "flush_log_dirty", "enable_log_dirty_pt_masked",
    ]); // prettier-ignore
  });

  it("lose the hv timer without a preemption timer, or when the option is off", () => {
    const without = new TestMachine({ prepare: (cpu) => cpu.withoutPinControls("VMX_PREEMPTION_TIMER") }).init();
    expect(absent(without)).toContain("set_hv_timer");
    expect(absent(without)).toContain("cancel_hv_timer");
    expect(absent(new TestMachine({ options: { preemptionTimer: false } }).init())).toContain("set_hv_timer");
  });
});

describe("a processor", () => {
  it("is refused with EBUSY when CR4.VMXE is set already, and stays as it was", () => {
    const machine = new TestMachine().init();
    machine.cpu().crs.set(4, CR4.VMXE);
    expect(failure(() => machine.ops.hardware_enable()).code).toBe("EBUSY");
    expect(machine.cpu().log).toEqual([]);
  });

  it("gets its feature control locked where the firmware left it open", () => {
    const machine = new TestMachine({ prepare: (cpu) => cpu.msrs.set(MSR.IA32_FEATURE_CONTROL, 0n) }).init().enable();
    expect(machine.cpu().rdmsr(MSR.IA32_FEATURE_CONTROL)).toBe(
      FEATURE_CONTROL.LOCKED | FEATURE_CONTROL.VMXON_ENABLED_OUTSIDE_SMX,
    );
  });

  it("has CR4.VMXE clear again when VMXON fails", () => {
    const machine = new TestMachine().init();
    machine.cpu().vmxonStatus = VM_FAIL_INVALID;
    const error = failure(() => machine.ops.hardware_enable());
    expect([error.code, error.syscall]).toEqual(["EIO", "VMXON"]);
    expect(machine.cpu().readCr(4) & CR4.VMXE).toBe(0n);
  });

  it("clears its VMCSs before VMXOFF", () => {
    const machine = new TestMachine();
    machine.vcpu();
    machine.cpu().log.length = 0;
    machine.ops.hardware_disable();
    expect(machine.cpu().log.map((entry) => entry.split(" ")[0])).toEqual(["vmclear", "vmxoff"]);
    expect(machine.cpu().readCr(4) & CR4.VMXE).toBe(0n);
  });
});
