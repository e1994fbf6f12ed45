import { dword, reg } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import type { BusDevice, LifecycleEvents, VcpuExit } from "../../src/contract/index.js";
import { emulateInstruction } from "../../src/emulate/instruction.js";
import { fastPio } from "../../src/emulate/pio.js";
import { getCr8 } from "../../src/registers/control.js";
import type { KvmVcpu } from "../../src/vcpu.js";
import { guest } from "../support/emulation.js";
import { scriptedVcpu } from "../support/scripted.js";

const { eax, ebx } = reg;
const KERNEL = 0x200000;
const USER = 0x300000;

/** A device that remembers what was written, and answers with 0x11. */
function probe(name: string): BusDevice & { readonly writes: number[] } {
  const writes: number[] = [];
  return {
    name,
    size: 4,
    read: (_at, data) => void data.fill(0x11),
    write: (_at, data) => void writes.push(...data),
    writes,
  };
}

/** A guest that stores EAX at [EBX] and loads it from there, with a device of each kind on either bus, and what the hook is told. */
function setUp(change: (event: LifecycleEvents["deviceAccess"]) => void = () => {}) {
  const scripted = guest((a) => a.mov(dword(ebx), eax).mov(eax, dword(ebx)));
  const { vm, vcpu, kvm } = scripted;
  const [kernel, user] = [probe("kernel's"), probe("user's")];
  for (const bus of [vm.buses.port, vm.buses.memory]) {
    const [kernelAt, userAt] = bus === vm.buses.port ? [0x200, 0x300] : [KERNEL, USER];
    bus.attachKernel(kernelAt, kernel);
    bus.attach(userAt, user);
  }
  const seen: string[] = [];
  kvm.core.attach({
    name: "watch",
    hooks: {
      deviceAccess(event) {
        const { space, address, isWrite, device, data } = event;
        seen.push(
          `${isWrite ? "write" : "read"} ${space} ${address.toString(16)} ${device ?? "nobody"} ${[...data].join()}`,
        );
        change(event);
      },
    },
  });
  return { ...scripted, kernel, user, seen, vcpu };
}

/** What user space does about an exit: it hands it to the buses. */
function serve(vcpu: KvmVcpu, exit: VcpuExit | undefined): void {
  const { buses } = vcpu.vm;
  if (exit?.reason === "mmio") {
    const { isWrite, address, data } = exit.mmio;
    if (isWrite) buses.memory.write(address, data);
    else if (!buses.memory.read(address, data)) data.fill(0xff);
  } else if (exit?.reason === "io") {
    const { direction, port, data } = exit.io;
    if (direction === "out") buses.port.write(port, data);
    else if (!buses.port.read(port, data)) data.fill(0xff);
  }
}

/** Emulate the instruction at RIP to its end; how often user space was asked. */
function emulate(vcpu: KvmVcpu): number {
  let exits = 0;
  let done = emulateInstruction(vcpu) === "done";
  while (!done && exits < 5) {
    exits += 1;
    serve(vcpu, vcpu.exit);
    const complete = vcpu.completeUserspaceIo;
    vcpu.completeUserspaceIo = undefined;
    done = complete?.() ?? true;
  }
  return exits;
}

/** IN or OUT as an exit of its own. */
function port(vcpu: KvmVcpu, direction: "in" | "out", at: number): number {
  if (fastPio(vcpu, direction, 1, at)) return 0;
  serve(vcpu, vcpu.exit);
  vcpu.completeUserspaceIo?.();
  return 1;
}

describe("an access of the guest that leaves it", () => {
  it.each([
    ["the kernel's device", KERNEL, 0x200, 0, "kernel's", "17"],
    ["user space's device", USER, 0x300, 1, "user's", "17"],
    ["nobody", 0x400000, 0x400, 1, "nobody", "255"],
  ])("to %s is told once, on every road", (_what, memory, at, exits, device, answer) => {
    const { vcpu, seen } = setUp();
    vcpu.setRegs({ rax: 0x22n, rbx: BigInt(memory) });
    expect([emulate(vcpu), emulate(vcpu)]).toEqual([exits, exits]);
    vcpu.setRegs({ rax: 0x22n });
    expect(port(vcpu, "out", at)).toBe(exits);
    expect(port(vcpu, "in", at)).toBe(exits);
    const [m, p] = [memory.toString(16), at.toString(16)];
    expect(seen).toEqual([
      `write memory ${m} ${device} 34,0,0,0`,
      `read memory ${m} ${device} ${[answer, answer, answer, answer].join()}`,
      `write port ${p} ${device} 34`,
      `read port ${p} ${device} ${answer}`,
    ]);
  });

  it("to the local APIC's page is told too", () => {
    const { vcpu, seen } = setUp();
    vcpu.setRegs({ rax: 0x30n, rbx: 0xfee00080n });
    expect([emulate(vcpu), emulate(vcpu)]).toEqual([0, 0]);
    expect(getCr8(vcpu)).toBe(3n);
    expect(seen).toEqual(["write memory fee00080 local APIC 48,0,0,0", "read memory fee00080 local APIC 48,0,0,0"]);
  });

  it("can be changed or dropped by a plugin, wherever the device is", () => {
    const { vcpu, kernel, user } = setUp((event) => {
      if (event.isWrite) event.drop = true;
      else event.data.fill(0x77);
    });
    for (const at of [0x200, 0x300]) {
      vcpu.setRegs({ rax: 0x22n });
      port(vcpu, "out", at);
      port(vcpu, "in", at);
      expect(vcpu.getRegs().rax).toBe(0x77n);
    }
    expect([kernel.writes, user.writes]).toEqual([[], []]);
  });
});

describe("the chips of the kernel", () => {
  it("are on the buses once they are created, each with its name", () => {
    const { vm } = scriptedVcpu();
    vm.createPit2();
    const placed = [...vm.buses.port.devices(), ...vm.buses.memory.devices()];
    expect(placed.map(({ base, device, inKernel }) => [base, device.name, inKernel])).toEqual([
      [0x20, "8259A master", true],
      [0x40, "8254", true],
      [0x61, "speaker", true],
      [0xa0, "8259A slave", true],
      [0x4d0, "ELCR", true],
      [0xfec00000, "I/O APIC", true],
    ]);
  });

  it("are not created at all where one finds its place taken", () => {
    const { kvm } = scriptedVcpu();
    const vm = kvm.createVm();
    vm.buses.port.attach(0xa0, probe("mine"));
    expect(() => vm.createIrqchip()).toThrow(/EEXIST: 8259A slave at 0xa0 overlaps mine at 0xa0 to 0xa3/);
    expect(vm.irqchipInKernel).toBe(false);
    expect(vm.buses.memory.devices()).toEqual([]);
  });

  it("take a longer access byte by byte, as devices of 8 bits do", () => {
    const { vm } = scriptedVcpu();
    // The masks are at the second port of each: the word sets the command port and the mask.
    vm.buses.port.write(0x4d0, Uint8Array.of(0x18, 0x0c));
    const levels = new Uint8Array(2);
    vm.buses.port.read(0x4d0, levels);
    expect([...levels]).toEqual([0x18, 0x0c]);
  });
});

describe("a port that the backend passes through", () => {
  it("is refused to a device from then on, and not passed through where one is", () => {
    const { vm } = scriptedVcpu();
    vm.buses.port.attach(0x80, probe("post card"));
    expect(vm.buses.port.passThrough(0x80)).toBe(false);
    expect(vm.buses.port.passThrough(0x84)).toBe(true);
    expect(() => vm.buses.port.attach(0x84, probe("late"))).toThrow(/EBUSY: late at 0x84: guests access 0x84 directly/);
  });
});
