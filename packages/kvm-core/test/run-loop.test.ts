import { describe, expect, it } from "vitest";
import { DEBUGREG, REQUEST } from "../src/contract/index.js";
import { writeLapic } from "../src/irqchip/lapic.js";
import { acceptInterrupt } from "../src/irqchip/lapic-delivery.js";
import { setEoi } from "../src/irqchip/lapic-vectors.js";
import type { Lapic, VcpuFields } from "../src/state/vcpu-state.js";
import { scriptedKvm, scriptedVcpu } from "./support/scripted.js";

function apicOf(vcpu: VcpuFields | undefined): Lapic {
  if (vcpu?.lapic === undefined) throw new Error("no local APIC");
  return vcpu.lapic;
}

const writeApic = (vcpu: VcpuFields | undefined, offset: number, value: number): boolean =>
  writeLapic(apicOf(vcpu), offset, value);

/** A fixed interrupt arrives. */
const interrupt = (vcpu: VcpuFields, vector: number): boolean => acceptInterrupt(apicOf(vcpu), 0, vector, true, false);

const IO_OUT = { reason: "io", io: { direction: "out", size: 1, port: 1, count: 1, data: new Uint8Array(1) } } as const;

describe("creating a vCPU", () => {
  it("calls the ops in KVM's order", () => {
    const { kvm, log } = scriptedKvm();
    const vm = kvm.createVm();
    vm.createIrqchip();
    expect(log).toEqual(["hardware_enable"]);
    log.length = 0;
    vm.createVcpu(0);
    expect(log).toEqual([
      "vcpu_create",
      "get_enable_apicv",
      "vcpu_load",
      "set_dr6",
      "set_dr7",
      "vcpu_reset",
      "vcpu_put",
      "vcpu_load",
      "write_tsc_offset",
      "vcpu_put",
    ]);
  });

  it("is refused without two-dimensional paging", () => {
    const { kvm } = scriptedKvm({ tdp: false });
    expect(() => kvm.createVm().createVcpu(0)).toThrow(/ENOSYS: shadow paging/);
  });

  it("gives everything back when its reset fails", () => {
    const { kvm, log, memory } = scriptedKvm({
      change: (ops) => {
        ops.vcpu_reset = () => {
          throw new Error("no reset");
        };
      },
    });
    const vm = kvm.createVm();
    vm.createIrqchip();
    const free = memory.free.size;
    expect(() => vm.createVcpu(0)).toThrow("no reset");
    expect(log.slice(-2)).toEqual(["vcpu_put", "vcpu_free"]);
    expect(memory.free.size).toBe(free);
    expect(vm.vcpus).toEqual([]);
  });

  it("refuses an id that exists, and frees what it made", () => {
    const { kvm, log } = scriptedKvm();
    const vm = kvm.createVm();
    vm.createVcpu(3);
    expect(() => vm.createVcpu(3)).toThrow(/EEXIST/);
    expect(log.at(-1)).toBe("vcpu_free");
    expect(() => vm.createVcpu(-1)).toThrow(/EINVAL: id is -1/);
    expect(() => vm.createVcpu(1023)).toThrow(/EINVAL/);
  });
});

describe("VMs", () => {
  it("turn virtualization on with the first and off with the last", () => {
    const { kvm, log } = scriptedKvm({ processors: 2 });
    const first = kvm.createVm();
    const second = kvm.createVm();
    expect(log).toEqual(["hardware_enable", "hardware_enable"]);
    first.destroy();
    expect(log).toHaveLength(2);
    second.destroy();
    expect(log.slice(2)).toEqual(["hardware_disable", "hardware_disable"]);
  });

  it("turn it off again where one processor refuses", () => {
    let enabled = 0;
    const { kvm, log } = scriptedKvm({
      processors: 2,
      change: (ops) => {
        ops.hardware_enable = () => {
          if (++enabled === 2) throw new Error("VMXE is set");
        };
      },
    });
    expect(() => kvm.createVm()).toThrow(/EBUSY: virtualization cannot be enabled on processor 1/);
    expect(log).toEqual(["hardware_enable", "hardware_enable", "hardware_disable"]);
    expect(kvm.vms).toEqual([]);
  });

  it("refuse every call once they are destroyed", () => {
    const { vm, vcpu } = scriptedVcpu();
    vm.destroy();
    expect(() => vm.createVcpu(1)).toThrow(/EBADF/);
    expect(() => vcpu.run()).toThrow(/EBADF/);
  });
});

describe("vcpu_enter_guest", () => {
  it("calls the ops of an entry and an exit in 4.9's order", () => {
    const { vcpu, script, log } = scriptedVcpu();
    script.push((v) => {
      v.exit = IO_OUT;
      return false;
    });
    vcpu.run();
    expect(log).toEqual([
      "vcpu_load",
      "set_tdp_cr3",
      "prepare_guest_switch",
      "run",
      "handle_external_intr",
      "handle_exit",
      "vcpu_put",
    ]);
  });

  it("looks at requests, injects, opens windows and loads debug registers before it enters", () => {
    const { vcpu, vm, script, log, stateOf } = scriptedVcpu();
    writeApic(vcpu, 0xf0, 0x1ff);
    interrupt(vcpu, 0x50);
    interrupt(vcpu, 0x60);
    vcpu.nmi();
    vcpu.nmi();
    stateOf(vcpu).nmiAllowed = true;
    vcpu.arch.requests |= 1 << REQUEST.TLB_FLUSH;
    vcpu.arch.switchDbRegs = DEBUGREG.BP_ENABLED | DEBUGREG.WONT_EXIT;
    script.push((v) => {
      v.exit = IO_OUT;
      return false;
    });
    vcpu.run();
    expect(vm.vcpus).toHaveLength(1);
    expect(log).toEqual([
      "vcpu_load",
      "tlb_flush",
      "get_nmi_mask",
      "nmi_allowed",
      "set_nmi",
      "enable_nmi_window",
      "enable_irq_window",
      "set_tdp_cr3",
      "prepare_guest_switch",
      "run",
      "sync_dirty_debug_regs",
      "set_dr6",
      "set_dr7",
      "handle_external_intr",
      "handle_exit",
      "vcpu_put",
    ]);
  });

  it("takes the highest interrupt, and asks for a window for the next", () => {
    const { vcpu, script, log, stateOf } = scriptedVcpu();
    writeApic(vcpu, 0xf0, 0x1ff);
    interrupt(vcpu, 0x50);
    interrupt(vcpu, 0x60);
    script.push(
      (v) => {
        expect(v.arch.interrupt).toEqual({ pending: true, soft: false, nr: 0x60 });
        v.arch.interrupt.pending = false;
        setEoi(apicOf(v));
        stateOf(v).interruptAllowed = false;
        return true;
      },
      (v) => {
        expect(v.arch.interrupt.pending).toBe(false);
        v.exit = IO_OUT;
        return false;
      },
    );
    vcpu.run();
    expect(log.filter((op) => /irq|interrupt/.test(op))).toEqual([
      "interrupt_allowed",
      "set_irq",
      "interrupt_allowed",
      "enable_irq_window",
    ]);
  });

  it("injects what an exit interrupted again before anything new", () => {
    const { vcpu, script, log } = scriptedVcpu();
    writeApic(vcpu, 0xf0, 0x1ff);
    interrupt(vcpu, 0x50);
    script.push((v) => {
      v.arch.interrupt.pending = false;
      v.arch.nmiInjected = true;
      v.arch.requests |= 1 << REQUEST.EVENT;
      return true;
    });
    script.push((v) => {
      v.exit = IO_OUT;
      return false;
    });
    vcpu.run();
    expect(log.filter((op) => op === "set_nmi" || op === "set_irq")).toEqual(["set_irq", "set_nmi"]);
  });

  it("reports a triple fault as a shutdown, without entering", () => {
    const { vcpu, log } = scriptedVcpu();
    vcpu.arch.requests |= 1 << REQUEST.TRIPLE_FAULT;
    expect(vcpu.run()).toEqual({ reason: "shutdown" });
    expect(log).toEqual(["vcpu_load", "vcpu_put"]);
  });

  it("gives an injected event back when the root cannot be loaded", () => {
    const { vcpu, log } = scriptedVcpu({
      change: (ops) => {
        ops.set_tdp_cr3 = () => {
          throw new Error("no root");
        };
      },
    });
    vcpu.nmi();
    expect(() => vcpu.run()).toThrow("no root");
    expect(log.slice(-3)).toEqual(["set_tdp_cr3", "cancel_injection", "vcpu_put"]);
  });
});

describe("vcpu.run", () => {
  it("comes back when its budget is used up, and is scheduled in again next time", () => {
    const { vcpu, script, advance, log, armed } = scriptedVcpu();
    script.push(() => {
      expect(armed[0]).toBe(1000);
      advance(1000);
      return true;
    });
    expect(vcpu.run({ maxCycles: 1000 })).toEqual({ reason: "budget" });
    expect(armed[0]).toBeUndefined();
    log.length = 0;
    script.push((v) => {
      v.exit = IO_OUT;
      return false;
    });
    vcpu.run();
    expect(log.slice(0, 2)).toEqual(["sched_in", "vcpu_load"]);
    expect(() => vcpu.run({ maxCycles: 0 })).toThrow(/EINVAL: maxCycles is 0/);
  });

  it("sets the processor's timer to the first of budget and host timers", () => {
    const { vcpu, script, advance, host, armed } = scriptedVcpu();
    const fired: number[] = [];
    host.timers.create("test", () => fired.push(host.clock.now())).arm(400);
    script.push(
      () => {
        expect(armed[0]).toBe(400);
        advance(400);
        return true;
      },
      () => {
        expect(armed[0]).toBe(1000);
        advance(600);
        return true;
      },
    );
    vcpu.run({ maxCycles: 1000 });
    expect(fired).toEqual([400]);
  });

  it("is idle while it is halted, and goes on when an interrupt comes", () => {
    const order: string[] = [];
    const { vcpu, script, log } = scriptedVcpu({
      change: (ops) => {
        ops.pre_block = () => {
          order.push("pre_block");
          return false;
        };
        ops.post_block = () => void order.push("post_block");
      },
    });
    writeApic(vcpu, 0xf0, 0x1ff);
    script.push((v) => {
      v.arch.mpState = "halted";
      return true;
    });
    expect(vcpu.run()).toEqual({ reason: "idle" });
    expect(vcpu.run()).toEqual({ reason: "idle" });
    expect(order).toEqual(["pre_block"]);
    interrupt(vcpu, 0x40);
    script.push((v) => {
      expect(v.arch.interrupt.nr).toBe(0x40);
      v.exit = IO_OUT;
      return false;
    });
    expect(vcpu.run().reason).toBe("io");
    expect(order).toEqual(["pre_block", "post_block"]);
    expect(log).toContain("set_irq");
  });

  it("stays halted for an interrupt that the guest does not take", () => {
    const { vcpu, script, stateOf } = scriptedVcpu();
    writeApic(vcpu, 0xf0, 0x1ff);
    stateOf(vcpu).interruptAllowed = false;
    script.push((v) => {
      v.arch.mpState = "halted";
      return true;
    });
    interrupt(vcpu, 0x40);
    expect(vcpu.run()).toEqual({ reason: "idle" });
  });

  it("lets a plugin exchange the exit", () => {
    const { core, vcpu } = scriptedVcpu();
    vcpu.arch.requests |= 1 << REQUEST.TRIPLE_FAULT;
    core.attach({ name: "no shutdown", hooks: { exitToUser: (event) => void (event.exit = { reason: "intr" }) } });
    expect(vcpu.run()).toEqual({ reason: "intr" });
  });

  it("waits for SIPI on every processor but the first", () => {
    const { vm, script } = scriptedVcpu();
    const second = vm.createVcpu(1);
    expect(second.run()).toEqual({ reason: "idle" });
    const [first] = vm.vcpus;
    writeApic(first, 0xf0, 0x1ff);
    writeApic(first, 0x310, 1 << 24);
    writeApic(first, 0x300, 0x4500);
    expect(second.run()).toEqual({ reason: "idle" });
    writeApic(first, 0x300, 0x4608);
    script.push((v) => {
      expect(v.id).toBe(1);
      v.exit = IO_OUT;
      return false;
    });
    expect(second.run().reason).toBe("io");
  });

  it("asks for a window without an irqchip", () => {
    const { vcpu, script } = scriptedVcpu({ irqchip: false });
    script.push(() => true);
    expect(vcpu.run({ requestInterruptWindow: true })).toEqual({ reason: "irq_window_open" });
    expect(() => vcpu.getLapic()).toThrow(/EINVAL/);
    vcpu.interrupt(0x33);
    script.push((v) => {
      expect(v.arch.interrupt.nr).toBe(0x33);
      v.exit = { reason: "hlt" };
      return false;
    });
    expect(vcpu.run()).toEqual({ reason: "hlt" });
  });
});
