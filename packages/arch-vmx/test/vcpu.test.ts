import { GUESTDBG, KvmError, REG, SREG, type Segment } from "@tapvisor/kvm-core/contract";
import {
  CPU_BASED, CPUID, CR0, CR4, EFER, EPT, MSR, PIN_BASED, SECONDARY_EXEC, VM_ENTRY, VM_EXIT, VMCS,
} from "@tapvisor/x86-isa"; // prettier-ignore
import { describe, expect, it } from "vitest";
import { VM_FAIL_VALID } from "../src/processor.js";
import { nullSegment, toVmx } from "../src/vcpu-vmx.js";
import { realModeSegment, TestMachine } from "./support/machine.js";

describe("a new vCPU", () => {
  it("is in the state after reset", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const cpu = machine.cpu();
    expect(cpu.field(VMCS.GUEST_CS_SELECTOR)).toBe(0xf000n);
    expect(cpu.field(VMCS.GUEST_CS_BASE)).toBe(0xffff0000n);
    expect(cpu.field(VMCS.GUEST_CS_AR_BYTES)).toBe(0x9bn);
    expect(cpu.field(VMCS.GUEST_TR_AR_BYTES)).toBe(0x8bn);
    expect(cpu.field(VMCS.GUEST_RFLAGS)).toBe(2n);
    expect(vcpu.arch.regs.u64[REG.RIP]).toBe(0xfff0n);
    expect(vcpu.arch.regs.u64[REG.RDX]).toBe(0x50654n);
    expect(cpu.field(VMCS.CR0_READ_SHADOW)).toBe(CR0.NW | CR0.CD | CR0.ET);
    expect(cpu.field(VMCS.GUEST_CR0) & (CR0.NW | CR0.CD)).toBe(0n);
    expect(cpu.field(VMCS.VMCS_LINK_POINTER)).toBe(0xffffffffffffffffn);
    expect(cpu.field(VMCS.VIRTUAL_PROCESSOR_ID)).toBe(1n);
  });

  it("writes no field that the processor does not know, and only host selectors that an entry accepts", () => {
    const machine = new TestMachine({
      prepare: (cpu) => cpu.segments.set("fs", { selector: 0x2b, base: 0n, limit: 0 }),
    });
    const vcpu = machine.vcpu();
    machine.ops.prepare_guest_switch(vcpu);
    expect(machine.cpu().field(VMCS.HOST_FS_SELECTOR)).toBe(0n);
    expect(machine.cpu().field(VMCS.HOST_CS_SELECTOR)).toBe(0x10n);
    expect(machine.cpu().field(VMCS.HOST_TR_BASE)).toBe(0x7000n);
    expect(machine.cpu().field(VMCS.HOST_GS_BASE)).toBe(0x65n);
    // The host's task has changed.
    machine.ops.vcpu_put(vcpu);
    machine.cpu().wrmsr(MSR.IA32_GS_BASE, 0x99n);
    machine.ops.vcpu_load(vcpu, 0);
    machine.ops.prepare_guest_switch(vcpu);
    expect(machine.cpu().field(VMCS.HOST_GS_BASE)).toBe(0x99n);
  });

  it("gives everything back when it is freed", () => {
    const machine = new TestMachine().init().enable();
    const before = machine.memory.free.length;
    const vcpu = machine.vcpu();
    expect(machine.memory.free.length).toBeLessThan(before);
    machine.ops.vcpu_put(vcpu);
    machine.ops.vcpu_free(vcpu);
    expect(machine.memory.free.length).toBe(before);
    expect(toVmx(machine.vcpu()).vpid).toBe(1);
  });

  it("leaves nothing behind when its set-up fails", () => {
    const machine = new TestMachine().init().enable();
    const before = machine.memory.free.length;
    machine.cpu().msrs.delete(MSR.IA32_SYSENTER_ESP);
    expect(() => machine.vcpu()).toThrow(/root mode/);
    expect(machine.memory.free.length).toBe(before);
  });

  it("has the identity map of a guest without paging at 0xfffbc000, once for the VM", () => {
    const machine = new TestMachine().init().enable();
    const vm = { id: 0, vcpus: [], backendState: undefined };
    machine.ops.vcpu_create(vm as never, 0);
    machine.ops.vcpu_create(vm as never, 1);
    expect(machine.kvm.calls.filter((call) => call.startsWith("setPrivateSlot"))).toEqual([
      "setPrivateSlot 511 0xfffbc000",
    ]);
  });
});

describe("vcpu_load", () => {
  it("moves the VMCS: cleared where it was, current where it goes, and asks for a TLB flush", () => {
    const machine = new TestMachine({ processors: 2 });
    const vcpu = machine.vcpu();
    machine.cpu(0).log.length = 0;
    machine.cpu(1).log.length = 0;
    vcpu.arch.requests = 0;
    machine.ops.vcpu_put(vcpu);
    machine.on(1, () => machine.ops.vcpu_load(vcpu, 1));
    const address = toVmx(vcpu).loadedVmcs.address.toString(16);
    expect(machine.cpu(0).log).toEqual([`vmclear 0x${address}`]);
    expect(machine.cpu(1).log).toEqual([`vmptrld 0x${address}`]);
    expect(vcpu.arch.requests).toBe(1);
  });

  it("does nothing with the VMCS when it comes back to where it is current", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.cpu().log.length = 0;
    machine.ops.vcpu_put(vcpu);
    machine.ops.vcpu_load(vcpu, 0);
    expect(machine.cpu().log).toEqual([]);
  });
});

describe("host state", () => {
  it("is saved once until the vCPU is put, and given back then", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const cpu = machine.cpu();
    vcpu.arch.efer = EFER.LMA | EFER.LME | EFER.SCE;
    machine.ops.set_efer(vcpu, vcpu.arch.efer);
    machine.ops.set_msr(vcpu, { index: MSR.IA32_KERNEL_GS_BASE, data: 0xaaaan, hostInitiated: false });
    machine.ops.set_msr(vcpu, { index: MSR.IA32_LSTAR, data: 0xbbbbn, hostInitiated: false });
    machine.kvm.calls.length = 0;
    machine.ops.prepare_guest_switch(vcpu);
    expect(cpu.rdmsr(MSR.IA32_KERNEL_GS_BASE)).toBe(0xaaaan);
    const loaded = machine.kvm.calls.filter((call) => call.startsWith("setSharedMsr"));
    expect(loaded).toContain("setSharedMsr 1 0xbbbb");
    expect(loaded).toHaveLength(5);
    machine.ops.prepare_guest_switch(vcpu);
    expect(machine.kvm.calls.filter((call) => call.startsWith("setSharedMsr"))).toHaveLength(5);
    // The guest has swapped.
    cpu.wrmsr(MSR.IA32_KERNEL_GS_BASE, 0xccccn);
    cpu.segments.set("tr", { selector: 0x40, base: 0x7000n, limit: 0x67 });
    machine.ops.vcpu_put(vcpu);
    expect(cpu.rdmsr(MSR.IA32_KERNEL_GS_BASE)).toBe(0x66n);
    expect(cpu.readSegment("tr").limit).toBe(0x206f);
    const read = { index: MSR.IA32_KERNEL_GS_BASE, data: 0n, hostInitiated: false };
    expect(machine.ops.get_msr(vcpu, read)).toBe(false);
    expect(read.data).toBe(0xccccn);
  });

  it("has EFER switched by the processor where the controls exist, and by the MSR lists where they do not", () => {
    const guestEfer = (machine: TestMachine) => {
      const vcpu = machine.vcpu();
      vcpu.arch.efer = EFER.LMA | EFER.LME;
      machine.ops.set_efer(vcpu, vcpu.arch.efer);
      return machine.cpu();
    };
    const cpu = guestEfer(new TestMachine());
    expect(cpu.field(VMCS.GUEST_IA32_EFER)).toBe(EFER.LMA | EFER.LME);
    expect(cpu.field(VMCS.HOST_IA32_EFER)).toBe(0xd01n);
    expect(cpu.field(VMCS.VM_ENTRY_CONTROLS) & BigInt(VM_ENTRY.LOAD_IA32_EFER | VM_ENTRY.IA32E_MODE)).toBe(
      BigInt(VM_ENTRY.LOAD_IA32_EFER | VM_ENTRY.IA32E_MODE),
    );
    const machine = new TestMachine({
      prepare: (c) => {
        c.forbid(MSR.IA32_VMX_EXIT_CTLS, VM_EXIT.LOAD_IA32_EFER);
      },
    });
    const other = guestEfer(machine);
    expect(other.field(VMCS.VM_ENTRY_MSR_LOAD_COUNT)).toBe(1n);
    const list = Number(other.field(VMCS.VM_ENTRY_MSR_LOAD_ADDR));
    expect(machine.memory.readU32(list)).toBe(MSR.IA32_EFER);
    expect(machine.memory.readU64(list + 8)).toBe(EFER.LMA | EFER.LME);
    expect(machine.memory.readU64(Number(other.field(VMCS.VM_EXIT_MSR_LOAD_ADDR)) + 8)).toBe(0xd01n);
  });
});

describe("control registers", () => {
  it("reach long mode: IA-32e control, a 64-bit TSS, CR3 without exits", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const cpu = machine.cpu();
    const exiting = BigInt(CPU_BASED.CR3_LOAD_EXITING | CPU_BASED.CR3_STORE_EXITING);
    machine.ops.set_cr0(vcpu, CR0.PE | CR0.ET);
    expect(cpu.field(VMCS.CPU_BASED_VM_EXEC_CONTROL) & exiting).toBe(exiting);
    expect(cpu.field(VMCS.GUEST_CR4) & (CR4.PAE | CR4.PSE | CR4.VMXE)).toBe(CR4.PSE | CR4.VMXE);
    machine.ops.set_cr4(vcpu, CR4.PAE);
    machine.ops.set_efer(vcpu, EFER.LME);
    cpu.fields.set(VMCS.GUEST_TR_AR_BYTES, 0x83n);
    machine.ops.set_cr0(vcpu, CR0.PE | CR0.PG | CR0.ET);
    expect(vcpu.arch.efer).toBe(EFER.LME | EFER.LMA);
    expect(cpu.field(VMCS.VM_ENTRY_CONTROLS) & BigInt(VM_ENTRY.IA32E_MODE)).not.toBe(0n);
    expect(cpu.field(VMCS.GUEST_TR_AR_BYTES)).toBe(0x8bn);
    expect(cpu.field(VMCS.CPU_BASED_VM_EXEC_CONTROL) & exiting).toBe(0n);
    expect(cpu.field(VMCS.GUEST_CR4) & CR4.PAE).toBe(CR4.PAE);
    expect(cpu.field(VMCS.CR4_READ_SHADOW)).toBe(CR4.PAE);
  });

  it("refuse CR4.VMXE", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    expect(machine.ops.set_cr4(vcpu, CR4.VMXE)).toBe(true);
    expect(machine.ops.set_cr4(vcpu, CR4.PGE)).toBe(false);
  });

  it("build the EPT pointer, and give a guest without paging the identity map", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const cpu = machine.cpu();
    vcpu.arch.mmu.rootHpa = 0x5000;
    cpu.log.length = 0;
    machine.ops.set_tdp_cr3(vcpu, 0x5000);
    expect(cpu.field(VMCS.EPT_POINTER)).toBe(0x505en);
    expect(cpu.field(VMCS.GUEST_CR3)).toBe(0xfffbc000n);
    expect(cpu.log).toEqual(["invvpid 1 1", "invept 1 0x505e"]);
    vcpu.arch.cr0 |= CR0.PG;
    vcpu.arch.cr3 = 0x123000n;
    machine.ops.set_tdp_cr3(vcpu, 0x5000);
    expect(cpu.field(VMCS.GUEST_CR3)).toBe(0x123000n);
  });

  it("hide TS and MP of a guest that is to lose the FPU, and show them again", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const cpu = machine.cpu();
    vcpu.arch.fpuActive = false;
    machine.ops.fpu_deactivate(vcpu);
    expect(cpu.field(VMCS.GUEST_CR0) & (CR0.TS | CR0.MP)).toBe(CR0.TS | CR0.MP);
    expect(cpu.field(VMCS.CR0_READ_SHADOW) & CR0.TS).toBe(0n);
    expect(cpu.field(VMCS.CR0_GUEST_HOST_MASK)).toBe(0xffffffffffffffffn);
    expect(cpu.field(VMCS.EXCEPTION_BITMAP) & 0x80n).toBe(0x80n);
    expect(machine.exit(vcpu, "EXCEPTION_NMI", { [VMCS.VM_EXIT_INTR_INFO]: 0x80000307n })).toBe(true);
    expect(cpu.field(VMCS.GUEST_CR0) & (CR0.TS | CR0.MP)).toBe(0n);
    expect(cpu.field(VMCS.EXCEPTION_BITMAP) & 0x80n).toBe(0n);
  });
});

describe("segments", () => {
  const code: Segment = {
    base: 0n, limit: 0xffffffff, selector: 8, type: 10, present: true, dpl: 0, db: false, s: true, l: true, g: true,
    avl: false, unusable: false,
  }; // prettier-ignore

  it("come back as they were set, with the accessed bit that an entry wants", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.ops.set_segment(vcpu, code, SREG.CS);
    const read = nullSegment();
    machine.ops.get_segment(vcpu, read, SREG.CS);
    expect(read).toEqual({ ...code, type: 11 });
    expect(machine.cpu().field(VMCS.GUEST_CS_AR_BYTES)).toBe(0xa09bn);
    const bits = { db: true, l: false };
    machine.ops.get_cs_db_l_bits(vcpu, bits);
    expect(bits).toEqual({ db: false, l: true });
  });

  it("are read from the VMCS again after an exit, and only then", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    expect(machine.ops.get_segment_base(vcpu, SREG.FS)).toBe(0n);
    machine.cpu().fields.set(VMCS.GUEST_FS_BASE, 0x77n);
    expect(machine.ops.get_segment_base(vcpu, SREG.FS)).toBe(0n);
    machine.exit(vcpu, "CPUID");
    expect(machine.ops.get_segment_base(vcpu, SREG.FS)).toBe(0x77n);
  });

  it("give the CPL by the DPL of SS", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.ops.set_segment(vcpu, { ...code, type: 3, dpl: 3, selector: 0x1b }, SREG.SS);
    expect(machine.ops.get_cpl(vcpu)).toBe(3);
  });
});

describe("CPUID of the guest", () => {
  it("turns RDTSCP and INVPCID off where it does not show them, and INVPCID where PCID is hidden", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const cpu = machine.cpu();
    const both = BigInt(SECONDARY_EXEC.RDTSCP | SECONDARY_EXEC.ENABLE_INVPCID);
    machine.kvm.features.add("INVPCID").add("PCID");
    machine.ops.cpuid_update(vcpu);
    expect(cpu.field(VMCS.SECONDARY_VM_EXEC_CONTROL) & both).toBe(both);
    machine.kvm.features.delete("PCID");
    machine.kvm.cpuid = [{ function: 7, index: 0, significantIndex: true, eax: 0, ebx: 1 << 10, ecx: 0, edx: 0 }];
    machine.ops.cpuid_update(vcpu);
    expect(cpu.field(VMCS.SECONDARY_VM_EXEC_CONTROL) & both).toBe(BigInt(SECONDARY_EXEC.RDTSCP));
    expect(machine.kvm.cpuid[0]?.ebx).toBe(0);
    machine.kvm.features.delete("RDTSCP");
    machine.ops.cpuid_update(vcpu);
    expect(cpu.field(VMCS.SECONDARY_VM_EXEC_CONTROL) & both).toBe(0n);
    const tscAux = { index: MSR.IA32_TSC_AUX, data: 0n, hostInitiated: false };
    expect(machine.ops.get_msr(vcpu, tscAux)).toBe(true);
    expect(machine.ops.get_msr(vcpu, { ...tscAux, hostInitiated: true })).toBe(false);
  });
});

describe("IA32_TSC_AUX", () => {
  it("is the guest's own in every mode, where it has RDTSCP", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.kvm.features.add("RDTSCP");
    machine.ops.cpuid_update(vcpu);
    machine.ops.set_msr(vcpu, { index: MSR.IA32_TSC_AUX, data: 0x77n, hostInitiated: false });
    machine.kvm.calls.length = 0;
    machine.ops.prepare_guest_switch(vcpu);
    expect(machine.kvm.calls).toContain("setSharedMsr 4 0x77");
  });
});

describe("MSRs", () => {
  const write = (machine: TestMachine, index: number, data: bigint) => {
    const vcpu = machine.vcpu();
    return machine.ops.set_msr(vcpu, { index, data, hostInitiated: false });
  };

  it("refuse what is reserved or read-only", () => {
    expect(write(new TestMachine(), MSR.IA32_PAT, 0x02n)).toBe(true);
    expect(write(new TestMachine(), MSR.IA32_TSC_AUX, 1n << 32n)).toBe(true);
    expect(write(new TestMachine(), MSR.IA32_VMX_BASIC, 0n)).toBe(true);
    expect(write(new TestMachine(), MSR.IA32_FEATURE_CONTROL, 4n)).toBe(true);
    expect(write(new TestMachine(), MSR.IA32_XSS, 0n)).toBe(true);
    expect(write(new TestMachine(), MSR.IA32_P5_MC_ADDR, 0n)).toBe(true);
  });

  it("load IA32_PAT with each entry, as the core keeps it", () => {
    const machine = new TestMachine();
    machine.kvm.commonMsrs.set(MSR.IA32_PAT, 0n);
    expect(write(machine, MSR.IA32_PAT, 0x0606060606060606n)).toBe(false);
    expect(machine.cpu().field(VMCS.GUEST_IA32_PAT)).toBe(0x0606060606060606n);
    machine.kvm.commonMsrs.set(MSR.IA32_PAT, 0x0007040600070406n);
    machine.ops.vcpu_reset(machine.vcpu(), false);
    expect(machine.cpu().field(VMCS.GUEST_IA32_PAT)).toBe(0x0007040600070406n);
  });

  it("read the TSC with the guest's offset, modulo 2^64", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.cpu().time = 1000;
    machine.ops.write_tsc_offset(vcpu, BigInt.asUintN(64, -400n));
    const msr = { index: MSR.IA32_TIME_STAMP_COUNTER, data: 0n, hostInitiated: false };
    machine.ops.get_msr(vcpu, msr);
    expect(msr.data).toBe(600n);
  });
});

describe("debugging", () => {
  it("intercepts #BP only with software breakpoints", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const bp = 1n << 3n;
    expect(machine.cpu().field(VMCS.EXCEPTION_BITMAP) & bp).toBe(0n);
    vcpu.arch.guestDebug = GUESTDBG.ENABLE | GUESTDBG.USE_SW_BP;
    machine.ops.update_bp_intercept(vcpu);
    expect(machine.cpu().field(VMCS.EXCEPTION_BITMAP) & bp).toBe(bp);
    expect(machine.cpu().field(VMCS.EXCEPTION_BITMAP) & (1n << 14n)).toBe(0n);
  });
});

describe("the hv timer", () => {
  it("is armed in ticks of the preemption timer at each entry, and refuses what does not fit", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    const cpu = machine.cpu();
    expect(machine.ops.set_hv_timer?.(vcpu, 1n << 37n)).toBe(false);
    expect(machine.ops.set_hv_timer?.(vcpu, 6400n)).toBe(true);
    expect(cpu.field(VMCS.PIN_BASED_VM_EXEC_CONTROL) & BigInt(PIN_BASED.VMX_PREEMPTION_TIMER)).not.toBe(0n);
    cpu.time = 3200;
    machine.exit(vcpu, "PREEMPTION_TIMER");
    expect(cpu.field(VMCS.VMX_PREEMPTION_TIMER_VALUE)).toBe(100n);
    expect(machine.kvm.calls).toContain("lapicExpiredHvTimer");
    cpu.time = 9999;
    machine.exit(vcpu, "CPUID");
    expect(cpu.field(VMCS.VMX_PREEMPTION_TIMER_VALUE)).toBe(0n);
    machine.ops.cancel_hv_timer?.(vcpu);
    expect(cpu.field(VMCS.PIN_BASED_VM_EXEC_CONTROL) & BigInt(PIN_BASED.VMX_PREEMPTION_TIMER)).toBe(0n);
  });

  it("is left to a host timer while the vCPU sleeps", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.kvm.hvTimerInUse = true;
    expect(machine.ops.pre_block(vcpu)).toBe(false);
    machine.ops.post_block?.(vcpu);
    expect(machine.kvm.calls).toEqual(["lapicSwitchToSwTimer", "lapicSwitchToHvTimer"]);
  });
});

describe("a failing VMX instruction", () => {
  it("is thrown with the field's and the instruction's name", () => {
    const machine = new TestMachine();
    const { vmcs } = toVmx(machine.vcpu());
    const thrown = (work: () => unknown): unknown => {
      try {
        return work();
      } catch (error) {
        return error;
      }
    };
    const write = thrown(() => {
      vmcs.write32(VMCS.VM_EXIT_REASON, 0);
    });
    expect(write).toBeInstanceOf(KvmError);
    expect(String(write)).toMatch(/VMWRITE of VM_EXIT_REASON \(0x4402\).*READ_ONLY/);
    expect(String(thrown(() => vmcs.read(0x0ffe)))).toMatch(/VMREAD of unknown field.*UNSUPPORTED/);
    machine.cpu().current = -1;
    expect(String(thrown(() => vmcs.read32(VMCS.GUEST_RIP)))).toMatch(/VMREAD of GUEST_RIP.*no current VMCS/);
  });

  it("that should have entered the guest is an exit to user space with the VMCS in it", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    machine.cpu().fields.set(VMCS.VM_INSTRUCTION_ERROR, 8n);
    machine.cpu().enter = () => VM_FAIL_VALID;
    machine.ops.run(vcpu);
    expect(machine.ops.handle_exit(vcpu)).toBe(false);
    expect(vcpu.exit).toMatchObject({ reason: "fail_entry", hardwareEntryFailureReason: 8 });
    expect(vcpu.exit?.reason === "fail_entry" && vcpu.exit.dump).toContain("GUEST_CS_BASE = 0xffff0000");
    machine.cpu().enter = undefined;
    machine.cpu().log.length = 0;
    machine.ops.run(vcpu);
    expect(machine.cpu().log).toEqual(["vmlaunch"]);
  });
});

describe("memory types", () => {
  it("are write-back for RAM and uncacheable for MMIO", () => {
    const machine = new TestMachine();
    const vcpu = machine.vcpu();
    expect(machine.ops.get_mt_mask(vcpu, 1, false)).toBe(BigInt((6 << 3) | EPT.IGNORE_PAT));
    expect(machine.ops.get_mt_mask(vcpu, 1, true)).toBe(0n);
  });
});

describe("real mode without unrestricted guest", () => {
  const restricted = () =>
    new TestMachine({
      prepare: (cpu) => {
        cpu.forbid(MSR.IA32_VMX_PROCBASED_CTLS2, SECONDARY_EXEC.UNRESTRICTED_GUEST);
      },
    });

  it("is refused with a clear error without KVM_SET_TSS_ADDR", () => {
    expect(() => restricted().vcpu()).toThrow(/KVM_SET_TSS_ADDR/);
  });

  it("is virtual-8086 mode, which the guest does not see", () => {
    const machine = restricted().init().enable();
    const vm = { id: 0, vcpus: [], backendState: undefined } as never;
    machine.ops.set_tss_addr(vm, 0xfffbd000);
    const vcpu = machine.ops.vcpu_create(vm, 0);
    machine.ops.vcpu_load(vcpu, 0);
    machine.ops.vcpu_reset(vcpu, false);
    const cpu = machine.cpu();
    expect(cpu.field(VMCS.GUEST_RFLAGS)).toBe(0x23002n);
    expect(cpu.field(VMCS.GUEST_CR4) & CR4.VME).toBe(CR4.VME);
    expect(machine.ops.get_rflags(vcpu)).toBe(2n);
    expect(cpu.field(VMCS.GUEST_TR_BASE)).toBe(0xfffbd000n);
    expect(cpu.field(VMCS.GUEST_CR0) & (CR0.PE | CR0.PG)).toBe(CR0.PE | CR0.PG);
    // CS of reset has a base that virtual-8086 mode cannot have.
    expect(toVmx(vcpu).emulationRequired).toBe(true);
    for (const seg of [SREG.CS, SREG.DS, SREG.ES, SREG.FS, SREG.GS, SREG.SS])
      machine.ops.set_segment(vcpu, realModeSegment(0x1000), seg);
    expect(toVmx(vcpu).emulationRequired).toBe(false);
    expect(cpu.field(VMCS.GUEST_CS_AR_BYTES)).toBe(0xf3n);
    const cs = nullSegment();
    machine.ops.get_segment(vcpu, cs, SREG.CS);
    expect(cs).toEqual(realModeSegment(0x1000));
    machine.ops.set_cr0(vcpu, CR0.PE);
    expect(cpu.field(VMCS.GUEST_RFLAGS)).toBe(2n);
    expect(cpu.field(VMCS.GUEST_TR_BASE)).toBe(0n);
  });

  it("traps INT n where the processor has no virtual-8086 extensions", () => {
    const machine = restricted();
    machine.cpu().features.delete(CPUID.VME);
    machine.init().enable();
    const vm = { id: 0, vcpus: [], backendState: undefined } as never;
    machine.ops.set_tss_addr(vm, 0xfffbd000);
    const vcpu = machine.ops.vcpu_create(vm, 0);
    machine.ops.vcpu_load(vcpu, 0);
    machine.ops.vcpu_reset(vcpu, false);
    expect(machine.cpu().field(VMCS.GUEST_CR4) & CR4.VME).toBe(0n);
    machine.ops.set_rflags(vcpu, 0x3202n);
    expect(machine.cpu().field(VMCS.GUEST_RFLAGS)).toBe(0x20202n);
    machine.exit(vcpu, "CPUID");
    expect(machine.ops.get_rflags(vcpu)).toBe(0x3202n);
  });

  it("is emulated while the processor would refuse to enter", () => {
    const machine = restricted().init().enable();
    const vm = { id: 0, vcpus: [], backendState: undefined } as never;
    machine.ops.set_tss_addr(vm, 0xfffbd000);
    const vcpu = machine.ops.vcpu_create(vm, 0);
    machine.ops.vcpu_load(vcpu, 0);
    machine.ops.vcpu_reset(vcpu, false);
    vcpu.arch.requests = 0;
    machine.cpu().log.length = 0;
    machine.kvm.calls.length = 0;
    machine.kvm.emulation = ["done", "fail"];
    machine.ops.run(vcpu);
    expect(machine.cpu().log).toEqual([]);
    expect(machine.ops.handle_exit(vcpu)).toBe(false);
    expect(machine.kvm.calls).toEqual(["emulateInstruction {}", "emulateInstruction {}"]);
    expect(machine.now).toBe(2);
    expect(vcpu.exit).toMatchObject({ reason: "internal_error", suberror: "emulation" });
  });
});
