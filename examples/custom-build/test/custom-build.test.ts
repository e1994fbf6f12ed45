import { expect, it } from "vitest";
import { customMachine, PLACES } from "../src/machine.js";
import { runGuest } from "../src/run.js";

it("runs a guest on devices of its own", async () => {
  expect(await runGuest()).toEqual({
    text: "5050",
    stop: "halt",
    devices: { "console port": { written: 4 }, sum: { sum: 5050 } },
  });
});

it("has nothing but what it was given", () => {
  const machine = customMachine(() => undefined);
  expect(machine.devices.map(({ bus, base }) => ({ bus, base }))).toEqual([
    { bus: "port", base: PLACES.CONSOLE_PORT },
    { bus: "memory", base: PLACES.SUM },
  ]);
  machine.dispose();
});
