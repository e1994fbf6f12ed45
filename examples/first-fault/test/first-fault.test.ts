import { expect, it } from "vitest";
import { failNthRead } from "../src/first-fault.js";
import { runGuest } from "../src/run.js";

it("reads every time without the fault", async () => {
  expect(await runGuest([])).toEqual({ console: ".....\n", stop: "halt" });
});

it.each([
  [1, "!....\n"],
  [3, "..!..\n"],
  [5, "....!\n"],
  [6, ".....\n"],
])("survives a get_msr that fails on call %i, by its #GP handler", async (nth, console) => {
  expect(await runGuest([failNthRead(nth)])).toEqual({ console, stop: "halt" });
});

it("fails the third in the plugin for the command line", async () => {
  const { default: plugin } = await import("../src/plugin.js");
  expect((await runGuest([plugin])).console).toBe("..!..\n");
});
