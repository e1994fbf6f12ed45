import { describe, expect, it } from "vitest";
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
  } as unknown as MachineDefinition;
  const wrong = (part: object) => () => defineMachine({ ...good, ...part });

  it("no name", () => expect(wrong({ name: "" })).toThrow(/name of a machine/));
  it("a member that there is not, with what is near", () =>
    expect(wrong({ memorysize: 1 })).toThrow(
      /machine "m": unknown member "memorysize" \(did you mean memorySize\?\); there are: name, memorySize/,
    ));
  it.each([0, -MIB, 1.5 * MIB + 1, 4096 * MIB, Number.NaN])("memory of %d bytes", (memorySize) =>
    expect(wrong({ memorySize })).toThrow(`machine "m": memorySize is ${memorySize}: must be 1 MiB to 3072 MiB`),
  );
  it.each([0, 65, 1.5])("%d vCPUs", (cpus) => expect(wrong({ cpus })).toThrow(`cpus is ${cpus}: must be 1 to 64`));
  it("no backend", () => expect(wrong({ backends: [] })).toThrow("must name at least one"));
  it("a host that cannot be made", () => {
    expect(wrong({ host: {} })).toThrow("host is [object Object]: must be a function");
  });
  it.each([
    [
      { eptAccesedDirty: false },
      /unknown host option "eptAccesedDirty" \(did you mean eptAccessedDirty\?\); there are: /,
    ],
    [{ nested: true }, /unknown host option "nested"/],
    [{ ept: 1 }, /hostOptions.ept is 1: must be a boolean/],
    [{ pleGap: -1 }, /hostOptions.pleGap is -1: must be a number of cycles from 0 on/],
  ])("the host option %j", (hostOptions, message) => expect(wrong({ hostOptions })).toThrow(message));
  it("and makes nothing yet of one that is right", () => expect(defineMachine(good)).toMatchObject({ name: "m" }));
});
