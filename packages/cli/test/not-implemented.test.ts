import { vmxBackend } from "@tapvisor/arch-vmx";
import { isOpName } from "@tapvisor/kvm-core";
import { expect, it } from "vitest";
import { createMachine } from "../src/machine.js";

it("every op that the backend lists as not implemented throws ENOSYS in its own name, where it is there at all", () => {
  const machine = createMachine({ memorySize: 1 << 20 });
  const { ops, core } = machine.kvm;
  const called: string[] = [];
  for (const name of vmxBackend.notImplemented ?? []) {
    expect(isOpName(name), name).toBe(true);
    if (core.dispatch.status(name).binding !== "bound") continue;
    const [, inner] = name.split(".");
    const table = (inner === undefined ? ops : ops.pmu_ops) as unknown as Record<
      string,
      (...args: unknown[]) => unknown
    >;
    const vcpu = { arch: { apicvActive: true } };
    expect(() => table[inner ?? name]?.(vcpu, 0, 0), name).toThrow(
      expect.objectContaining({ code: "ENOSYS", syscall: name }),
    );
    called.push(name);
  }
  machine.dispose();
  expect(called.length).toBeGreaterThan(0);
});
