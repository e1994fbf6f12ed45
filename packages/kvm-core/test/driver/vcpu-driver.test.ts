import { describe, expect, it } from "vitest";
import { AddressBus } from "../../src/buses/address-bus.js";
import type { Host, Vcpu, VcpuExit, Vm } from "../../src/contract/index.js";
import { KvmCore } from "../../src/core.js";
import { VcpuDriver } from "../../src/driver/vcpu-driver.js";

/** What a scripted vCPU does in one `run()`: retire instructions, then exit. */
type Step = (maxCycles: number) => { retired: number; charge?: number; exit: VcpuExit };

/** The buses of a VM, with one device at 0x10 that answers reads with 0x5a and remembers writes. */
function buses() {
  const writes: string[] = [];
  const port = new AddressBus(0x10000);
  port.attach(0x10, {
    name: "probe",
    size: 4,
    read: (_offset, data) => void data.fill(0x5a),
    write: (offset, data) => void writes.push(`${offset}:${[...data].join()}`),
  });
  return { buses: { port, memory: new AddressBus(2 ** 52) }, writes };
}

function setUp(...scripts: Step[]) {
  let cycles = 0;
  let retired = 0;
  const timers: { at: number; fire: () => void }[] = [];
  const clock = {
    now: () => cycles,
    cycles: () => cycles,
    tscKhz: 1_000_000,
    charge: (n: number) => void (cycles += n),
    advanceTo: (ns: number) => void (cycles = Math.max(cycles, ns)),
  };
  const host = {
    clock,
    timers: {
      create: () => {
        throw new Error("no timer is needed");
      },
      next: () => timers[0]?.at,
      runDue: () => {
        let fired = 0;
        while (timers[0] !== undefined && timers[0].at <= cycles) {
          timers.shift()?.fire();
          fired++;
        }
        return fired;
      },
    },
    processors: [{}],
    scheduler: { quantumCycles: 1000, runOn: <T>(_cpu: number, work: () => T) => work() },
  } as unknown as Host;
  const runs: number[] = [];
  const vcpus = scripts.map((script, id) => ({
    id,
    run: ({ maxCycles = 0 }) => {
      runs.push(id);
      const { retired: count, charge = 0, exit } = script(maxCycles);
      retired += count;
      cycles += count + charge;
      return exit;
    },
  }));
  const { buses: ofVm, writes } = buses();
  const vm = { vcpus: vcpus as unknown as Vcpu[], buses: ofVm } as unknown as Vm;
  const core = new KvmCore(host);
  const machine = new VcpuDriver({ core, vm, retired: () => retired });
  return { machine, core, writes, runs, timers, clock, state: { get retired() { return retired; } } }; // prettier-ignore
}

const budget: VcpuExit = { reason: "budget" };
const idle: VcpuExit = { reason: "idle" };
const busy: Step = (maxCycles) => ({ retired: maxCycles, exit: budget });
const out = (port: number, data: number[], size: 1 | 2 | 4 = 1): VcpuExit => ({
  reason: "io",
  io: { direction: "out", size, port, count: data.length / size, data: Uint8Array.from(data) },
});
/** Play exits one after another, an instruction each, then stay idle. */
const play = (...exits: VcpuExit[]): Step => () => ({ retired: 1, exit: exits.shift() ?? idle }); // prettier-ignore

describe("how a machine ends", () => {
  it("with budget, to the instruction, though intercepted instructions cost more cycles than one", async () => {
    const step: Step = (max) =>
      max > 10 ? { retired: 10, charge: 1500, exit: budget } : { retired: max, exit: budget };
    const { machine, state } = setUp(step);
    expect(await machine.run({ maxInstructions: 12_345 })).toEqual({ stop: "budget" });
    expect(state.retired).toBe(12_345);
  });

  it("with halt, when nothing can wake it", async () => {
    expect(await setUp(play()).machine.run()).toEqual({ stop: "halt" });
    expect(await setUp().machine.run()).toEqual({ stop: "halt" });
  });

  it("with halt, when timers fire for ever and wake nobody", async () => {
    const { machine, timers, clock } = setUp(() => ({ retired: 0, exit: idle }));
    const arm = () => timers.push({ at: clock.cycles() + 10, fire: arm });
    arm();
    expect(await machine.run({ maxInstructions: 100 })).toEqual({ stop: "halt" });
  });

  it("with what a device asked for, the first request standing", async () => {
    const { machine } = setUp(play(out(0x10, [1])));
    machine.environment.requestStop({ kind: "debug-exit", value: 7 });
    machine.environment.requestStop({ kind: "shutdown" });
    expect(await machine.run()).toEqual({ stop: "debug-exit", value: 7 });
  });

  it.each<[VcpuExit, object]>([
    [{ reason: "shutdown" }, { stop: "shutdown" }],
    [{ reason: "system_event", type: "reset" }, { stop: "reset" }],
    [{ reason: "system_event", type: "shutdown" }, { stop: "shutdown" }],
    [
      { reason: "internal_error", suberror: "emulation", data: [] },
      { stop: "internal-error", vcpu: 0, suberror: "emulation" },
    ],
    [
      { reason: "unknown", hardwareExitReason: 99 },
      { stop: "internal-error", vcpu: 0, suberror: "unknown_exit" },
    ],
    [
      { reason: "fail_entry", hardwareEntryFailureReason: 33 },
      { stop: "fail-entry", vcpu: 0, hardwareEntryFailureReason: 33 },
    ],
  ])("with the exit %j", async (exit, stop) => {
    expect(await setUp(play(exit)).machine.run()).toEqual(stop);
  });

  it("with aborted, once the caller's signal says so", async () => {
    const controller = new AbortController();
    const { machine } = setUp((max) => {
      controller.abort();
      return busy(max);
    });
    expect(await machine.run({ signal: controller.signal })).toEqual({ stop: "aborted" });
  });

  it("refuses a second run at the same time", async () => {
    const { machine } = setUp(() => ({ retired: 0, exit: idle }));
    let endOfInput: (more: boolean) => void = () => {};
    const first = machine.run({ waitForInput: () => new Promise((resolve) => void (endOfInput = resolve)) });
    await expect(machine.run()).rejects.toThrow("runs already");
    endOfInput(false);
    expect(await first).toEqual({ stop: "halt" });
  });
});

describe("port and memory accesses", () => {
  it("reach the device, element by element for a string instruction", async () => {
    const { machine, writes } = setUp(play(out(0x10, [1, 2, 3, 4], 2)));
    await machine.run();
    expect(writes).toEqual(["0:1,2", "0:3,4"]);
  });

  it("read all ones where there is no device", async () => {
    const data = new Uint8Array(4);
    const mmio = new Uint8Array(8);
    const { machine } = setUp(
      play(
        { reason: "io", io: { direction: "in", size: 4, port: 0x99, count: 1, data } },
        { reason: "mmio", mmio: { address: 0xd0000000, isWrite: false, length: 4, data: mmio } },
      ),
    );
    await machine.run();
    expect([...data]).toEqual([0xff, 0xff, 0xff, 0xff]);
    expect([...mmio]).toEqual([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
  });
});

describe("time and turns", () => {
  it("gives each vCPU its quantum in turn", async () => {
    const { machine, runs } = setUp(busy, busy);
    await machine.run({ maxInstructions: 4000 });
    expect(runs).toEqual([0, 1, 0, 1]);
  });

  it("jumps to the next timer when all are idle, and goes on", async () => {
    let awake = false;
    const { machine, timers, clock } = setUp(() => (awake ? { retired: 1, exit: { reason: "shutdown" } } : { retired: 0, exit: idle })); // prettier-ignore
    timers.push({ at: 500_000, fire: () => void (awake = true) });
    expect(await machine.run()).toEqual({ stop: "shutdown" });
    expect(clock.cycles()).toBe(500_001);
  });
});

describe("outside input", () => {
  it("enters between slices, and is recorded with its time", async () => {
    let got = "";
    const { machine } = setUp(() => ({ retired: 1, exit: got === "" ? idle : { reason: "shutdown" } }));
    machine.onInput((bytes) => void (got += String.fromCharCode(...bytes)));
    const waitForInput = () => {
      machine.input([0x68, 0x69]);
      return Promise.resolve(true);
    };
    expect(await machine.run({ waitForInput })).toEqual({ stop: "shutdown" });
    expect(got).toBe("hi");
    expect(machine.inputs).toEqual([{ cycles: 1, bytes: [0x68, 0x69] }]);
  });

  it("that will not come leaves the machine halted", async () => {
    const { machine } = setUp(() => ({ retired: 0, exit: idle }));
    expect(await machine.run({ waitForInput: () => Promise.resolve(false) })).toEqual({ stop: "halt" });
  });
});
