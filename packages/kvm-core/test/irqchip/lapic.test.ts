import { MSR } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import type { KvmVcpu } from "../../src/vcpu.js";
import { claimsAddress, readLapic, readLapicPage, writeLapic, writeLapicPage } from "../../src/irqchip/lapic.js";
import { acceptInterrupt, hasPendingTimer, injectTimer } from "../../src/irqchip/lapic-delivery.js";
import { switchToSwTimer } from "../../src/irqchip/lapic-timer.js";
import {
  acknowledgeApicInterrupt,
  apicHasInterrupt,
  hwEnabled,
  lapicCr8,
  setEoi,
  setLapicCr8,
  swEnabled,
} from "../../src/irqchip/lapic-vectors.js";
import { APIC } from "../../src/irqchip/lapic-registers.js";
import { setMsr } from "../../src/msr/access.js";
import type { Lapic } from "../../src/state/vcpu-state.js";
import { scriptedVcpu } from "../support/scripted.js";

const FIXED = 0;
const ENABLE = 0x1ff;
const BASE = 0xfee00000n;

function lapicOf(vcpu: KvmVcpu): Lapic {
  if (!vcpu.lapic) throw new Error("no local APIC");
  return vcpu.lapic;
}

function setUp(enabled = true) {
  const scripted = scriptedVcpu();
  const lapic = lapicOf(scripted.vcpu);
  if (enabled) writeLapic(lapic, APIC.SPIV, ENABLE);
  return { ...scripted, lapic };
}

const guestWrites = (vcpu: KvmVcpu, index: number, data: bigint): boolean =>
  setMsr(vcpu, { index, data, hostInitiated: false });

function x2apic(vcpu: KvmVcpu): void {
  const entries = [{ function: 1, index: 0, significantIndex: false, eax: 0, ebx: 0, ecx: 1 << 21, edx: 0 }];
  vcpu.setCpuid2(entries);
  expect(guestWrites(vcpu, MSR.IA32_APIC_BASE, BASE | 0xc00n)).toBe(false);
}

describe("a local APIC after reset", () => {
  it("is enabled in hardware, disabled in software, and masks every local interrupt but LINT0", () => {
    const { vcpu, lapic } = setUp(false);
    expect(vcpu.arch.apicBase).toBe(BASE | 0x900n);
    expect([hwEnabled(lapic), swEnabled(lapic)]).toEqual([true, false]);
    expect(readLapic(lapic, APIC.LVR)).toBe(0x50014);
    expect(readLapic(lapic, APIC.LVTT)).toBe(0x10000);
    expect(readLapic(lapic, APIC.LVT0)).toBe(0x700);
    expect(readLapic(lapic, APIC.DFR)).toBe(0xffffffff);
  });

  it("takes no interrupt while it is disabled in software", () => {
    const { lapic } = setUp(false);
    expect(acceptInterrupt(lapic, FIXED, 0x40, true, false)).toBe(false);
    expect(apicHasInterrupt(lapic)).toBe(-1);
  });

  it("masks its local vector table again when it is disabled", () => {
    const { lapic } = setUp();
    writeLapic(lapic, APIC.LVTT, 0x30);
    expect(readLapic(lapic, APIC.LVTT)).toBe(0x30);
    writeLapic(lapic, APIC.SPIV, 0xff);
    expect(readLapic(lapic, APIC.LVTT)).toBe(0x10030);
    writeLapic(lapic, APIC.LVTT, 0x31);
    expect(readLapic(lapic, APIC.LVTT)).toBe(0x10031);
  });
});

describe("priorities", () => {
  it("let a higher class interrupt the one in service, and no other", () => {
    const { lapic } = setUp();
    acceptInterrupt(lapic, FIXED, 0x45, true, false);
    expect(acknowledgeApicInterrupt(lapic)).toBe(0x45);
    expect(readLapic(lapic, APIC.PROCPRI)).toBe(0x40);
    acceptInterrupt(lapic, FIXED, 0x4f, true, false);
    expect(apicHasInterrupt(lapic)).toBe(-1);
    acceptInterrupt(lapic, FIXED, 0x51, true, false);
    expect(acknowledgeApicInterrupt(lapic)).toBe(0x51);
    writeLapic(lapic, APIC.EOI, 0);
    expect(readLapic(lapic, APIC.PROCPRI)).toBe(0x40);
    writeLapic(lapic, APIC.EOI, 0);
    expect(acknowledgeApicInterrupt(lapic)).toBe(0x4f);
  });

  it("hold back what the task priority covers, by CR8 too", () => {
    const { vcpu, lapic } = setUp();
    writeLapic(lapic, APIC.TASKPRI, 0x4f);
    acceptInterrupt(lapic, FIXED, 0x4e, true, false);
    expect(apicHasInterrupt(lapic)).toBe(-1);
    expect(lapicCr8(lapic)).toBe(4);
    setLapicCr8(lapic, 3);
    expect(apicHasInterrupt(lapic)).toBe(0x4e);
    expect(vcpu.getSregs().cr8).toBe(3n);
  });

  it("ignore an EOI with nothing in service", () => {
    const { lapic } = setUp();
    writeLapic(lapic, APIC.EOI, 0);
    acceptInterrupt(lapic, FIXED, 0x40, true, false);
    expect(apicHasInterrupt(lapic)).toBe(0x40);
  });
});

describe("register access", () => {
  it("reads 1, 2 or 4 bytes within a register, and 0 where there is none", () => {
    const { lapic } = setUp();
    const read = (offset: number, size: number): number[] => {
      const bytes = new Uint8Array(size);
      readLapicPage(lapic, 0xfee00000 + offset, bytes);
      return [...bytes];
    };
    expect(read(0x30, 4)).toEqual([0x14, 0, 5, 0]);
    expect(read(0x32, 1)).toEqual([5]);
    expect(read(0x30, 8)).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    expect(read(0x40, 4)).toEqual([0, 0, 0, 0]);
  });

  it("drops writes that are not 4 aligned bytes", () => {
    const { lapic } = setUp();
    writeLapicPage(lapic, 0xfee00080, Uint8Array.of(0x20));
    writeLapicPage(lapic, 0xfee00084, Uint8Array.of(0x20, 0, 0, 0));
    expect(readLapic(lapic, APIC.TASKPRI)).toBe(0);
    writeLapicPage(lapic, 0xfee00080, Uint8Array.of(0x20, 0, 0, 0));
    expect(readLapic(lapic, APIC.TASKPRI)).toBe(0x20);
  });

  it("changes to x2APIC and back only as the manual allows", () => {
    const { vcpu, lapic } = setUp();
    expect(guestWrites(vcpu, MSR.IA32_APIC_BASE, BASE | 0xc00n)).toBe(true);
    x2apic(vcpu);
    expect(claimsAddress(lapic, 0xfee00020)).toBe(false);
    expect(guestWrites(vcpu, MSR.IA32_APIC_BASE, BASE | 0x800n)).toBe(true);
    expect(guestWrites(vcpu, MSR.IA32_APIC_BASE, BASE | 0x400n)).toBe(true);
    expect(guestWrites(vcpu, MSR.IA32_APIC_BASE, BASE)).toBe(false);
    expect((vcpu.getCpuid2()[0]?.edx ?? 0) & (1 << 9)).toBe(0);
    expect(guestWrites(vcpu, MSR.IA32_APIC_BASE, BASE | 0xc00n)).toBe(true);
    expect(guestWrites(vcpu, MSR.IA32_APIC_BASE, BASE | 0x800n)).toBe(false);
    expect(guestWrites(vcpu, MSR.IA32_APIC_BASE, BASE | 0x801n)).toBe(true);
  });

  it("refuses x2APIC registers that do not exist, are read-only, or have reserved bits", () => {
    const { vcpu, lapic } = setUp();
    expect(guestWrites(vcpu, MSR.IA32_X2APIC_TPR, 1n)).toBe(true);
    x2apic(vcpu);
    expect(guestWrites(vcpu, MSR.IA32_X2APIC_TPR, 0x30n)).toBe(false);
    expect(readLapic(lapic, APIC.TASKPRI)).toBe(0x30);
    expect(guestWrites(vcpu, MSR.IA32_X2APIC_APICID, 1n)).toBe(true);
    expect(guestWrites(vcpu, MSR.IA32_X2APIC_TPR, 1n << 32n)).toBe(true);
    expect(guestWrites(vcpu, 0x80e, 0n)).toBe(true);
    expect(guestWrites(vcpu, MSR.IA32_X2APIC_SELF_IPI, 0x140n)).toBe(true);
    expect(() => vcpu.getMsrs([0x809])).toThrow(/EINVAL/);
    expect(vcpu.getMsrs([MSR.IA32_X2APIC_LDR])).toEqual([1n]);
    expect(() => vcpu.getMsrs([0x831])).toThrow(/EINVAL: MSR 0x831/);
  });
});

describe("inter-processor interrupts", () => {
  function two() {
    const scripted = setUp();
    const other = lapicOf(scripted.vm.createVcpu(1));
    writeLapic(other, APIC.SPIV, ENABLE);
    return { ...scripted, other };
  }
  const send = (lapic: Lapic, destination: number, command: number): void => {
    writeLapic(lapic, APIC.ICR2, destination << 24);
    writeLapic(lapic, APIC.ICR, command);
  };

  it.each([
    ["self", 0, 0x40040, [0x40, -1]],
    ["all", 0, 0x80040, [0x40, 0x40]],
    ["others", 0, 0xc0040, [-1, 0x40]],
    ["an APIC ID", 1, 0x40, [-1, 0x40]],
    ["an APIC ID that nobody has", 7, 0x40, [-1, -1]],
    ["everybody by the broadcast ID", 0xff, 0x40, [0x40, 0x40]],
    ["a flat logical destination", 2, 0x840, [-1, 0x40]],
    ["two flat logical destinations", 3, 0x840, [0x40, 0x40]],
  ])("go to %s", (_what, destination, command, expected) => {
    const { lapic, other } = two();
    writeLapic(lapic, APIC.LDR, 1 << 24);
    writeLapic(other, APIC.LDR, 2 << 24);
    send(lapic, destination, command);
    expect([apicHasInterrupt(lapic), apicHasInterrupt(other)]).toEqual(expected);
    expect(readLapic(lapic, APIC.ICR)).toBe(command);
  });

  it("deliver an NMI whatever the priority", () => {
    const { lapic, vm } = two();
    send(lapic, 1, 0x400);
    expect(vm.vcpus[1]?.nmiQueued).toBe(1);
  });

  it("reset and start a processor by INIT and SIPI", () => {
    const { lapic, other, vm } = two();
    send(lapic, 1, 0x4500);
    const second = vm.vcpus[1] as KvmVcpu;
    expect(second.getMpState()).toBe("init_received");
    expect(swEnabled(other)).toBe(false);
    send(lapic, 1, 0x4612);
    expect(second.getMpState()).toBe("runnable");
    expect(second.getSregs().cs).toMatchObject({ selector: 0x1200, base: 0x12000n });
    expect(second.getRegs().rip).toBe(0n);
  });

  it("ignore SIPI where no INIT came", () => {
    const { lapic, vm } = two();
    send(lapic, 1, 0x4612);
    expect(vm.vcpus[1]?.getMpState()).toBe("uninitialized");
  });
});

describe("the timer", () => {
  function running() {
    const scripted = setUp();
    const expire = (cycles: number): number => {
      scripted.advance(cycles);
      scripted.host.timers.runDue();
      if (hasPendingTimer(scripted.lapic)) injectTimer(scripted.lapic);
      const vector = acknowledgeApicInterrupt(scripted.lapic);
      if (vector !== -1) setEoi(scripted.lapic);
      return vector;
    };
    return { ...scripted, expire };
  }

  it("counts down once, by its divisor", () => {
    const { lapic, expire, advance } = running();
    writeLapic(lapic, APIC.LVTT, 0x30);
    writeLapic(lapic, APIC.TDCR, 0xb);
    writeLapic(lapic, APIC.TMICT, 1000);
    advance(400);
    expect(readLapic(lapic, APIC.TMCCT)).toBe(600);
    expect(expire(599)).toBe(-1);
    expect(expire(1)).toBe(0x30);
    expect(readLapic(lapic, APIC.TMCCT)).toBe(0);
    expect(expire(5000)).toBe(-1);
    writeLapic(lapic, APIC.TDCR, 3);
    writeLapic(lapic, APIC.TMICT, 100);
    expect(expire(1599)).toBe(-1);
    expect(expire(1)).toBe(0x30);
  });

  it("repeats in periodic mode without drifting", () => {
    const { lapic, expire } = running();
    writeLapic(lapic, APIC.LVTT, 0x20031);
    writeLapic(lapic, APIC.TDCR, 0xb);
    writeLapic(lapic, APIC.TMICT, 1_000_000);
    expect(expire(1_000_100)).toBe(0x31);
    expect(expire(999_899)).toBe(-1);
    expect(expire(1)).toBe(0x31);
    writeLapic(lapic, APIC.TMICT, 0);
    expect(expire(3_000_000)).toBe(-1);
  });

  it("goes on counting from one-shot to periodic mode", () => {
    const { lapic, expire, advance } = running();
    writeLapic(lapic, APIC.LVTT, 0x30);
    writeLapic(lapic, APIC.TDCR, 0xb);
    writeLapic(lapic, APIC.TMICT, 1_000_000);
    advance(400_000);
    writeLapic(lapic, APIC.LVTT, 0x20031);
    expect(readLapic(lapic, APIC.TMCCT)).toBe(600_000);
    expect(expire(600_000)).toBe(0x31);
    expect(expire(1_000_000)).toBe(0x31);
    writeLapic(lapic, APIC.LVTT, 0x30);
    expect(expire(1_000_000)).toBe(0x30);
    expect(expire(1_000_000)).toBe(-1);
  });

  it("keeps a deadline of the guest's TSC, where CPUID shows that mode", () => {
    const { vcpu, lapic, expire, now } = running();
    writeLapic(lapic, APIC.LVTT, 0x40032);
    expect(readLapic(lapic, APIC.LVTT)).toBe(0x32);
    vcpu.setCpuid2([{ function: 1, index: 0, significantIndex: false, eax: 0, ebx: 0, ecx: 1 << 24, edx: 0 }]);
    writeLapic(lapic, APIC.LVTT, 0x40032);
    const deadline = BigInt(now() + 777);
    expect(guestWrites(vcpu, MSR.IA32_TSC_DEADLINE, deadline)).toBe(false);
    expect(vcpu.getMsrs([MSR.IA32_TSC_DEADLINE])).toEqual([deadline]);
    expect(expire(776)).toBe(-1);
    expect(expire(1)).toBe(0x32);
    expect(vcpu.getMsrs([MSR.IA32_TSC_DEADLINE])).toEqual([0n]);
  });

  it("takes the backend's timer where that serves, and its own where not", () => {
    const armed: (bigint | undefined)[] = [];
    let fits = true;
    const { vcpu, host } = scriptedVcpu({
      change: (ops) => {
        ops.set_hv_timer = (_vcpu, deadline) => {
          armed.push(deadline);
          return fits;
        };
        ops.cancel_hv_timer = () => void armed.push(undefined);
      },
    });
    const lapic = lapicOf(vcpu);
    writeLapic(lapic, APIC.SPIV, ENABLE);
    vcpu.setCpuid2([{ function: 1, index: 0, significantIndex: false, eax: 0, ebx: 0, ecx: 1 << 24, edx: 0 }]);
    writeLapic(lapic, APIC.LVTT, 0x40032);
    guestWrites(vcpu, MSR.IA32_TSC_DEADLINE, 5000n);
    expect(armed).toEqual([5000n]);
    expect(host.timers.next()).toBeUndefined();
    switchToSwTimer(lapic);
    expect(armed).toEqual([5000n, undefined]);
    expect(host.timers.next()).toBe(5000);
    fits = false;
    guestWrites(vcpu, MSR.IA32_TSC_DEADLINE, 9000n);
    expect(host.timers.next()).toBe(9000);
  });

  it("does not fire where a plugin drops it", () => {
    const { core, lapic, expire } = running();
    core.attach({ name: "late", hooks: { timerFired: (event) => void (event.drop = true) } });
    writeLapic(lapic, APIC.LVTT, 0x30);
    writeLapic(lapic, APIC.TMICT, 1000);
    expect(expire(10_000)).toBe(-1);
  });
});

describe("the state of a local APIC", () => {
  it("is saved and restored, with what is requested and in service", () => {
    const { lapic, vcpu } = setUp();
    acceptInterrupt(lapic, FIXED, 0x45, true, false);
    acknowledgeApicInterrupt(lapic);
    acceptInterrupt(lapic, FIXED, 0x71, true, false);
    const other = setUp(false);
    other.vcpu.setLapic(vcpu.getLapic());
    expect(apicHasInterrupt(other.lapic)).toBe(0x71);
    acknowledgeApicInterrupt(other.lapic);
    setEoi(other.lapic);
    expect(readLapic(other.lapic, APIC.PROCPRI)).toBe(0x40);
    expect(() => vcpu.setLapic(new Uint8Array(3))).toThrow(/EINVAL: 3 bytes/);
  });
});

describe("the I/O APIC", () => {
  function routed(low: number) {
    const scripted = setUp();
    const write = (offset: number, value: number): void => {
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setUint32(0, value, true);
      scripted.vm.buses.memory.write(0xfec00000 + offset, bytes);
    };
    write(0, 0x10 + 2 * 4);
    write(0x10, low);
    return scripted;
  }

  it("delivers an edge once, and nothing while it is masked", () => {
    const { vm, lapic } = routed(0x55);
    vm.irqLine(4, true);
    expect(acknowledgeApicInterrupt(lapic)).toBe(0x55);
    setEoi(lapic);
    vm.irqLine(4, true);
    expect(apicHasInterrupt(lapic)).toBe(-1);
    vm.irqLine(4, false);
    vm.irqLine(4, true);
    expect(apicHasInterrupt(lapic)).toBe(0x55);
    const masked = routed(0x10055);
    masked.vm.irqLine(4, true);
    masked.vm.irqLine(4, false);
    expect(apicHasInterrupt(masked.lapic)).toBe(-1);
    masked.vm.buses.memory.write(0xfec00010, Uint8Array.of(0x55, 0, 0, 0));
    expect(apicHasInterrupt(masked.lapic)).toBe(-1);
  });

  it("delivers a level again after EOI as long as it is asserted", () => {
    const { vm, lapic } = routed(0x8055);
    vm.irqLine(4, true);
    expect(acknowledgeApicInterrupt(lapic)).toBe(0x55);
    expect(apicHasInterrupt(lapic)).toBe(-1);
    setEoi(lapic);
    expect(acknowledgeApicInterrupt(lapic)).toBe(0x55);
    vm.irqLine(4, false);
    setEoi(lapic);
    expect(apicHasInterrupt(lapic)).toBe(-1);
  });

  it("refuses a line that it has not got, and a VM without one", () => {
    const { vm } = setUp();
    expect(() => vm.irqLine(24, true)).toThrow(/EINVAL: gsi is 24/);
    expect(() => vm.createIrqchip()).toThrow(/EEXIST/);
    const without = scriptedVcpu({ irqchip: false });
    expect(() => without.vm.irqLine(0, true)).toThrow(/ENXIO/);
    expect(() => without.vm.createIrqchip()).toThrow(/EINVAL: the VM has vCPUs/);
  });
});
