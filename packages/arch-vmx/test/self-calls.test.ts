import { GUESTDBG, REG, SREG, type OpName, type Vcpu } from "@tapvisor/kvm-core/contract";
import { CR0, EFER, MSR, SECONDARY_EXEC, VMCS } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { toVmx } from "../src/vcpu-vmx.js";
import { TestMachine } from "./support/machine.js";

/**
 * vmx.c calls 26 of its own ops past the table. For each that this backend calls too: what makes it do so. Of the others
 * (get_cpl, set_irq, set_rflags, set_virtual_x2apic_mode) every caller in 4.9 is nested VMX or APICv.
 */
const SELF_CALLS: readonly (readonly [op: OpName, when: string, scene: (machine: TestMachine, vcpu: Vcpu) => void])[] = [
  ["enable_irq_window", "an NMI window is wanted in the shadow of STI", (m, v) => {
    m.ops.set_interrupt_shadow(v, 2);
    m.ops.enable_nmi_window(v);
  }],
  ["skip_emulated_instruction", "RDMSR exits", (m, v) => {
    v.arch.regs.u64[REG.RCX] = BigInt(MSR.IA32_FS_BASE);
    m.exit(v, "MSR_READ");
  }],
  ["skip_emulated_instruction", "a port exits", (m, v) => m.exit(v, "IO_INSTRUCTION")],
  ["update_bp_intercept", "the FPU is taken away", (m, v) => {
    m.ops.fpu_deactivate(v);
  }],
  ["update_bp_intercept", "the vCPU is reset", (m, v) => {
    m.ops.vcpu_reset(v, false);
  }],
  ["decache_cr0_guest_bits", "the FPU is taken away", (m, v) => {
    m.ops.fpu_deactivate(v);
  }],
  ["decache_cr3", "paging is turned on after an exit", (m, v) => {
    m.exit(v, "CPUID");
    m.ops.set_cr0(v, CR0.PE | CR0.PG);
  }],
  ["tlb_flush", "a root is loaded", (m, v) => {
    m.ops.set_tdp_cr3(v, 0x5000);
  }],
  ["fpu_activate", "the guest meets #NM", (m, v) => {
    m.exit(v, "EXCEPTION_NMI", { [VMCS.VM_EXIT_INTR_INFO]: 0x80000307n });
  }],
  ["fpu_activate", "CLTS exits", (m, v) => {
    m.exit(v, "CR_ACCESS", { [VMCS.EXIT_QUALIFICATION]: 0x20n });
  }],
  ["fpu_activate", "the vCPU is reset", (m, v) => {
    m.ops.vcpu_reset(v, true);
  }],
  ["get_msr", "RDMSR exits", (m, v) => m.exit(v, "MSR_READ")],
  ["set_cr0", "CLTS exits", (m, v) => {
    m.exit(v, "CR_ACCESS", { [VMCS.EXIT_QUALIFICATION]: 0x20n });
  }],
  ["set_cr0", "the vCPU is reset", (m, v) => {
    m.ops.vcpu_reset(v, false);
  }],
  ["set_cr4", "paging is turned on", (m, v) => {
    m.ops.set_cr0(v, CR0.PE | CR0.PG);
  }],
  ["set_cr4", "the vCPU is reset", (m, v) => {
    m.ops.vcpu_reset(v, false);
  }],
  ["set_efer", "long mode is entered", (m, v) => {
    m.ops.set_efer(v, EFER.LME);
    m.ops.set_cr0(v, CR0.PE | CR0.PG);
  }],
  ["set_efer", "the vCPU is reset", (m, v) => {
    m.ops.vcpu_reset(v, false);
  }],
  ["set_interrupt_shadow", "an instruction is skipped", (m, v) => {
    m.ops.skip_emulated_instruction(v);
  }],
  ["set_interrupt_shadow", "a debugger steps", (m, v) => {
    v.arch.guestDebug = GUESTDBG.ENABLE | GUESTDBG.SINGLESTEP;
    m.run(v, 10);
  }],
  ["set_nmi_mask", "the delivery of an NMI is interrupted", (m, v) => {
    m.run(v, 48, { [VMCS.IDT_VECTORING_INFO_FIELD]: 0x80000202n });
  }],
  ["set_nmi_mask", "a task gate takes an NMI", (m, v) => {
    m.exit(v, "TASK_SWITCH", {
      [VMCS.EXIT_QUALIFICATION]: 3n << 30n,
      [VMCS.IDT_VECTORING_INFO_FIELD]: 0x80000202n,
    });
  }],
  ["cache_reg", "an instruction is skipped", (m, v) => {
    m.exit(v, "WBINVD");
    m.ops.skip_emulated_instruction(v);
  }],
  ["rdtscp_supported", "the guest's CPUID changes", (m, v) => {
    m.ops.cpuid_update(v);
  }],
  ["invpcid_supported", "the guest's CPUID changes", (m, v) => {
    m.ops.cpuid_update(v);
  }],
  ["xsaves_supported", "IA32_XSS is read", (m, v) => {
    m.ops.get_msr(v, { index: MSR.IA32_XSS, data: 0n, hostInitiated: false });
  }],
  ["xsaves_supported", "a vCPU is created", (m, v) => {
    m.ops.vcpu_create(v.vm, 1);
  }],
  ["mpx_supported", "IA32_BNDCFGS is read", (m, v) => {
    m.ops.get_msr(v, { index: MSR.IA32_BNDCFGS, data: 0n, hostInitiated: false });
  }],
  ["vcpu_load", "a vCPU is created", (m, v) => {
    m.ops.vcpu_create(v.vm, 1);
  }],
  ["vcpu_put", "a vCPU is created", (m, v) => {
    m.ops.vcpu_create(v.vm, 1);
  }],
]; // prettier-ignore

/** The same on a processor without unrestricted guest and virtual NMIs, in virtual-8086 mode. */
const RESTRICTED_SELF_CALLS: typeof SELF_CALLS = [
  ["get_segment", "real mode is left", (m, v) => {
    m.ops.set_cr0(v, CR0.PE);
  }],
  ["get_segment", "the base of a segment is asked for", (m, v) => {
    m.ops.get_segment_base(v, SREG.DS);
  }],
  ["set_segment", "real mode is left", (m, v) => {
    m.ops.set_cr0(v, CR0.PE);
  }],
  ["get_rflags", "the guest's state is checked", (m, v) => {
    m.ops.set_cr0(v, CR0.PE);
  }],
  ["update_bp_intercept", "real mode is left", (m, v) => {
    m.ops.set_cr0(v, CR0.PE);
  }],
  ["interrupt_allowed", "NMIs are blocked by hand", (m, v) => {
    toVmx(v).emulationRequired = false;
    m.ops.set_nmi(v);
    m.exit(v, "CPUID");
  }],
  ["interrupt_allowed", "a guest that waits for a window is emulated", (m, v) => {
    v.arch.requests = 0;
    m.ops.enable_irq_window(v);
    m.kvm.emulation = ["user_exit"];
    m.ops.handle_exit(v);
  }],
]; // prettier-ignore

describe("the backend calls its own ops through the table, marked as its own", () => {
  it.each(SELF_CALLS)("%s when %s", (op, _when, scene) => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const seen = machine.watch(() => {
      scene(machine, vcpu);
    });
    expect(seen).toContain(`backend ${op}`);
  });

  it.each(RESTRICTED_SELF_CALLS)("%s when %s, without unrestricted guest", (op, _when, scene) => {
    const machine = new TestMachine({
      prepare: (cpu) => {
        cpu.withoutPinControls("VIRTUAL_NMIS").forbid(MSR.IA32_VMX_PROCBASED_CTLS2, SECONDARY_EXEC.UNRESTRICTED_GUEST);
      },
    })
      .init()
      .enable();
    const vm = { id: 0, vcpus: [], backendState: undefined } as never;
    machine.ops.set_tss_addr(vm, 0xfffbd000);
    const vcpu = machine.ops.vcpu_create(vm, 0);
    machine.ops.vcpu_load(vcpu, 0);
    machine.ops.vcpu_reset(vcpu, false);
    const seen = machine.watch(() => {
      scene(machine, vcpu);
    });
    expect(seen).toContain(`backend ${op}`);
  });

  it("so that an interceptor can answer the RDMSR of a guest", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.core.attach({
      name: "forty-two",
      ops: {
        get_msr: {
          before(call) {
            call.args[1].data = 42n;
            call.answer(false);
          },
        },
      },
    });
    vcpu.arch.regs.u64[REG.RCX] = 0x999n;
    machine.exit(vcpu, "MSR_READ");
    expect(vcpu.arch.regs.u64[REG.RAX]).toBe(42n);
    expect(machine.kvm.calls).not.toContain("injectGp 0");
  });
});

describe("ops that Linux 4.9 leaves without effect on VT-x", () => {
  it("are set_dr6, get_tdp_level, check_intercept and, without a nested guest, check_nested_events", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const before = new Map(machine.cpu().fields);
    machine.ops.set_dr6(vcpu, 0x1234n);
    expect(machine.ops.get_tdp_level()).toBe(4);
    const instruction = {
      intercept: "rdtsc", repPrefix: 0, modrmMod: 0, modrmReg: 0, modrmRm: 0, srcValue: 0n, dstValue: 0n, srcBytes: 0,
      dstBytes: 0, addressBytes: 8, nextRip: 0n,
    }; // prettier-ignore
    expect(machine.ops.check_intercept(vcpu, instruction, "pre-exception")).toBe("continue");
    expect(machine.ops.check_nested_events(vcpu, true)).toBe(false);
    expect(machine.cpu().fields).toEqual(before);
  });
});

describe("ops that are not implemented", () => {
  it("say so by name", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    for (const [name, call] of [
      ["refresh_apicv_exec_ctrl", () => machine.ops.refresh_apicv_exec_ctrl(vcpu)],
      ["hwapic_irr_update", () => machine.ops.hwapic_irr_update(vcpu, 1)],
      ["hwapic_isr_update", () => machine.ops.hwapic_isr_update(vcpu, 1)],
      ["sync_pir_to_irr", () => machine.ops.sync_pir_to_irr(vcpu)],
      ["deliver_posted_interrupt", () => machine.ops.deliver_posted_interrupt(vcpu, 1)],
      ["pmu_ops.get_msr", () => machine.ops.pmu_ops.get_msr(vcpu, { index: 0xc1, data: 0n, hostInitiated: false })],
    ] as const)
      expect(call).toThrow(new RegExp(`ENOSYS.*${name.replace(".", "\\.")}`));
  });

  it("leave a guest without counters, whatever its CPUID says", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.kvm.cpuid = [
      { function: 10, index: 0, significantIndex: false, eax: 0x7300402, ebx: 0, ecx: 0, edx: 0x603 },
    ];
    machine.ops.pmu_ops.refresh(vcpu);
    expect(vcpu.arch.pmu).toEqual({ version: 0, gpCounters: 0, fixedCounters: 0 });
    expect(machine.ops.pmu_ops.is_valid_msr(vcpu, MSR.IA32_PERF_GLOBAL_CTRL)).toBe(false);
    expect(machine.ops.pmu_ops.is_valid_msr(vcpu, MSR.IA32_PMC0)).toBe(false);
    expect(machine.ops.pmu_ops.is_valid_msr_idx(vcpu, 0)).toBe(true);
  });
});
