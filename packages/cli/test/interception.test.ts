import { describe, expect, it } from "vitest";
import { LIFECYCLE_NAMES, OP_NAMES, type OpName } from "@tapvisor/kvm-core";
import { defineInterceptor, loadRealMode, onEveryOp, type Interceptor } from "@tapvisor/sdk";
import { assembleDemo, DEMO_ADDRESS } from "../src/demo/guest.js";
import { createMachine, type StockMachineOptions } from "../src/index.js";

const MEMORY = 16 << 20;
const BUDGET = 50_000_000;

/** A stock machine with the demo guest in it, and what it prints. */
function demoMachine(interceptors: readonly Interceptor[] = [], options: StockMachineOptions = {}) {
  let text = "";
  const machine = createMachine({
    memorySize: MEMORY,
    interceptors,
    console: { write: (bytes) => void (text += new TextDecoder().decode(bytes)) },
    ...options,
  });
  machine.load(loadRealMode(assembleDemo(), { memorySize: MEMORY, address: DEMO_ADDRESS }));
  return { machine, printed: () => text };
}

async function runDemo(interceptors: readonly Interceptor[] = []) {
  const { machine, printed } = demoMachine(interceptors);
  const { stop } = await machine.run({ maxInstructions: BUDGET });
  const { instructions } = machine;
  machine.dispose();
  return { stop, instructions, printed: printed() };
}

describe("interceptors on a running guest", () => {
  it("see every lifecycle hook in the life of a machine", async () => {
    const seen = new Set<string>();
    const hooks = Object.fromEntries(LIFECYCLE_NAMES.map((name) => [name, () => void seen.add(name)]));
    await runDemo([defineInterceptor({ name: "life", hooks })]);
    expect([...seen].sort()).toEqual([...LIFECYCLE_NAMES].sort());
  });

  it("change nothing by watching: same console, same number of instructions", async () => {
    const untouched = await runDemo();
    expect(untouched.stop).toBe("halt");
    let calls = 0;
    const watched = await runDemo([
      defineInterceptor({ name: "watch", ops: onEveryOp({ observe: () => void calls++ }) }),
    ]);
    expect(watched).toEqual(untouched);
    expect(calls).toBeGreaterThan(1000);
  });

  it("change nothing by standing in the way and passing everything on", async () => {
    const transparent = defineInterceptor({
      name: "transparent",
      ops: Object.fromEntries(
        OP_NAMES.map((op) => [
          op,
          {
            before: () => undefined,
            around: (next: (...args: readonly unknown[]) => unknown, ...args: readonly unknown[]) => next(...args),
            after: () => undefined,
          },
        ]),
      ),
    });
    expect(await runDemo([transparent])).toEqual(await runDemo());
  });

  it("drop what a device is written, and change what it reads", async () => {
    const loseHyphens = defineInterceptor({
      name: "lossy line",
      hooks: {
        deviceAccess: (event) => {
          if (event.isWrite && event.address === 0x3f8) event.drop = event.data[0] === "-".charCodeAt(0);
        },
      },
    });
    const { printed } = await runDemo([loseHyphens]);
    expect(printed).toContain("hello from 16bit code");
    const upperCase = defineInterceptor({
      name: "upper case",
      hooks: {
        deviceAccess: ({ isWrite, address, data }) => {
          const [byte = 0] = data;
          if (isWrite && address === 0x3f8 && byte >= 0x61 && byte <= 0x7a) data[0] = byte - 0x20;
        },
      },
    });
    expect((await runDemo([upperCase])).printed).toContain("HELLO FROM 16-BIT CODE");
  });

  it("exchange an exit to user space", async () => {
    let exits = 0;
    const powerOff = defineInterceptor({
      name: "power off",
      hooks: {
        exitToUser: (event) => {
          exits++;
          if (exits === 10) event.exit = { reason: "shutdown" };
        },
      },
    });
    const { stop, printed } = await runDemo([powerOff]);
    expect(stop).toBe("shutdown");
    expect(printed.length).toBeLessThan(10);
  });

  it("come and go between two slices of a run", async () => {
    const { machine, printed } = demoMachine();
    const seen: OpName[] = [];
    const watch = defineInterceptor({ name: "watch", ops: { run: { observe: ({ op }) => void seen.push(op) } } });
    await machine.run({ maxInstructions: 1000 });
    expect(seen).toEqual([]);
    const attachment = machine.attach(watch);
    await machine.run({ maxInstructions: 1000 });
    const then = seen.length;
    expect(then).toBeGreaterThan(0);
    attachment.dispose();
    await machine.run({ maxInstructions: BUDGET });
    expect(seen.length).toBe(then);
    expect(printed()).toBe((await runDemo()).printed);
    machine.dispose();
  });

  it("watch one vCPU and not another", async () => {
    const { machine } = demoMachine([], { cpus: 2 });
    const [first, second] = machine.vcpus;
    if (first === undefined || second === undefined) throw new Error("two vCPUs were asked for");
    const seen = { first: 0, second: 0 };
    const count = (which: keyof typeof seen) =>
      defineInterceptor({ name: which, ops: { handle_exit: { observe: () => void seen[which]++ } } });
    machine.attach(count("first"), { vcpu: first });
    machine.attach(count("second"), { vcpu: second });
    await machine.run({ maxInstructions: 100_000 });
    // The second waits for SIPI.
    expect(seen.first).toBeGreaterThan(0);
    expect(seen.second).toBe(0);
    machine.dispose();
  });

  it("are blamed for their own mistakes, out of machine.run()", async () => {
    const clumsy = defineInterceptor({
      name: "clumsy",
      ops: { handle_exit: { before: () => void JSON.parse("{") } },
    });
    const { machine } = demoMachine([clumsy]);
    await expect(machine.run({ maxInstructions: 1000 })).rejects.toMatchObject({
      code: "ERR_INTERCEPTOR_THREW",
      interceptor: "clumsy",
    });
  });
});

describe("the stock backends", () => {
  it("are tried in order: vmx on an Intel processor", () => {
    const { machine } = demoMachine();
    expect(machine.kvm.backend?.name).toBe("vmx");
    machine.dispose();
  });

  it("leave an AMD processor to svm, which sets up and registers, and says ENOSYS when a vCPU is created", () => {
    const registered: string[] = [];
    const watch = defineInterceptor({
      name: "watch",
      ops: {
        hardware_setup: { observe: ({ op }) => void registered.push(op) },
        hardware_enable: { observe: ({ op, outcome }) => void registered.push(outcome?.error === undefined ? op : "") },
      },
      hooks: { backendChosen: ({ backend }) => void registered.push(backend.name) },
    });
    expect(() => demoMachine([watch], { profile: "epyc" })).toThrow(
      expect.objectContaining({ code: "ENOSYS", errno: -38, syscall: "vcpu_create" }),
    );
    expect(registered).toEqual(["hardware_setup", "svm", "hardware_enable"]);
  });

  it("refuse a processor of the other vendor with EOPNOTSUPP", () => {
    const refusal = expect.objectContaining({ code: "EOPNOTSUPP", errno: -95, syscall: "kvm_init" });
    expect(() => demoMachine([], { backend: "svm" })).toThrow(refusal);
    expect(() => demoMachine([], { profile: "epyc", backend: "vmx" })).toThrow(refusal);
  });
});
