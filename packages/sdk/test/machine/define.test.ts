import type { DeviceEnvironment } from "@tapvisor/kvm-core";
import { describe, expect, it } from "vitest";
import { defineDevice } from "../../src/machine/define-device.js";
import { defineMachine, type MachineDefinition } from "../../src/machine/define-machine.js";

const MIB = 1 << 20;

describe("defineMachine refuses, naming the field, its value and the rule", () => {
  const good = {
    name: "m",
    memorySize: 16 * MIB,
    host: () => {
      throw new Error("not made yet");
    },
    backends: [{ name: "b", vendor: "v", create: () => ({}) }],
    bus: () => ({}),
  } as unknown as MachineDefinition;
  const wrong = (part: object) => () => defineMachine({ ...good, ...part } as MachineDefinition);

  it("no name", () => expect(wrong({ name: "" })).toThrow(/name of a machine/));
  it.each([0, -MIB, 1.5 * MIB + 1, 4096 * MIB, Number.NaN])("memory of %d bytes", (memorySize) =>
    expect(wrong({ memorySize })).toThrow(`machine "m": memorySize is ${memorySize}: must be 1 MiB to 3072 MiB`),
  );
  it.each([0, 65, 1.5])("%d vCPUs", (cpus) => expect(wrong({ cpus })).toThrow(`cpus is ${cpus}: must be 1 to 64`));
  it("no backend", () => expect(wrong({ backends: [] })).toThrow("must name at least one"));
  it("a host or a bus that cannot be made", () => {
    expect(wrong({ host: {} })).toThrow("host is [object Object]: must be a function");
    expect(wrong({ bus: undefined })).toThrow("bus is undefined: must be a function");
  });
  it("and makes nothing yet of one that is right", () => expect(defineMachine(good)).toMatchObject({ name: "m" }));
});

describe("defineDevice", () => {
  const definition = {
    name: "latch",
    size: 2,
    initialState: () => ({ bytes: [0, 0] }),
  };

  it("refuses a device without a name, bytes or state", () => {
    expect(() => defineDevice({ ...definition, name: "" })).toThrow(/name of a device/);
    for (const size of [0, -1, 1.5]) expect(() => defineDevice({ ...definition, size })).toThrow(/size must be/);
    expect(() => defineDevice({ ...definition, initialState: undefined as never })).toThrow(/initialState/);
  });

  const latch = defineDevice({
    ...definition,
    read: ({ bytes }, offset, data) => data.set(bytes.slice(offset, offset + data.length)),
    write: ({ bytes }, offset, data, { line }) => {
      data.forEach((byte, i) => (bytes[offset + i] = byte));
      line.set(bytes[0] !== 0);
    },
    stateChanged: ({ bytes }, { line }) => line.set(bytes[0] !== 0),
  });

  it("reads as all ones where it does not say what it reads as", () => {
    const data = new Uint8Array(2);
    defineDevice(definition)({}).read(0, data);
    expect([...data]).toEqual([0xff, 0xff]);
  });

  it("keeps the state of each device apart, saves it as plain data, and drives the line after a restore", () => {
    let level = false;
    const first = latch({ line: { set: (value) => void (level = value) } });
    const second = latch({});
    first.write(0, Uint8Array.of(7));
    const saved = JSON.parse(JSON.stringify(first.saveState())) as { bytes: number[] };
    first.reset();
    expect([saved, second.saveState(), level]).toEqual([{ bytes: [7, 0] }, { bytes: [0, 0] }, false]);
    first.restoreState(saved);
    saved.bytes[0] = 0;
    const data = new Uint8Array(1);
    first.read(0, data);
    expect([data[0], level]).toEqual([7, true]);
  });

  it("tells which device wants an environment that it was not given", () => {
    const curious = defineDevice({
      ...definition,
      write: (_state, _offset, _data, { environment }) => environment.requestStop({ kind: "shutdown" }),
    });
    expect(() => curious({}).write(0, Uint8Array.of(1))).toThrow(/"latch" needs the environment of a machine/);
    let stopped: unknown;
    const environment = { requestStop: (stop: unknown) => void (stopped = stop) } as unknown as DeviceEnvironment;
    curious({ environment }).write(0, Uint8Array.of(1));
    expect(stopped).toEqual({ kind: "shutdown" });
  });
});
