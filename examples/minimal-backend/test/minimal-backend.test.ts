import { expect, it } from "vitest";
import { offerNamedBackend } from "../src/named-backend.js";
import { processorName } from "../src/run.js";

const NAME = "A processor by another name";

it("is chosen where a plugin offers it first, and its one op shows in the guest", async () => {
  expect(await processorName([offerNamedBackend(NAME)])).toEqual({ backend: "named-vmx", name: NAME });
});

it("leaves the machine as it was where arch-vmx is asked for by name", async () => {
  const stock = await processorName([]);
  expect(stock.backend).toBe("vmx");
  expect(stock.name).not.toContain(NAME);
  expect(stock.name.length).toBeGreaterThan(10);
  expect(await processorName([offerNamedBackend(NAME)], "vmx")).toEqual(stock);
});

it("is named where a backend is asked for that is not there", async () => {
  await expect(processorName([offerNamedBackend(NAME)], "nemo")).rejects.toThrow(
    /there is no backend "nemo"; there are: named-vmx, vmx, svm/,
  );
});
