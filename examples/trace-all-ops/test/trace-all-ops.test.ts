import { describe, expect, it } from "vitest";
import { runGuest } from "../src/run.js";
import { traceAllOps } from "../src/trace.js";

async function trace(): Promise<string[]> {
  const lines: string[] = [];
  expect(await runGuest(traceAllOps((line) => void lines.push(line)))).toBe("ok\n");
  return lines;
}

/** The ops of a trace, in order, each as `caller op`. */
function callsIn(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/^\d+ ns, (core|backend)(, vcpu \d+)?: ([\w.]+)#.*$/s, "$1 $3"));
}

describe("trace-all-ops", () => {
  it("tells the life of a core from the first probe to the end", async () => {
    const calls = callsIn(await trace());
    expect(calls.slice(0, 3)).toEqual(["core cpu_has_kvm_support", "core disabled_by_bios", "core hardware_setup"]);
    expect(calls.at(-1)).toBe("core hardware_unsetup");
    const inOrder = [
      "hardware_enable",
      "vcpu_create",
      "vcpu_reset",
      "run",
      "handle_exit",
      "vcpu_free",
      "hardware_disable",
    ];
    const places = inOrder.map((op) => calls.indexOf(`core ${op}`));
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(places).not.toContain(-1);
  });

  it("tells what the guest's exits took, and who called", async () => {
    const lines = await trace();
    const calls = callsIn(lines);
    expect(calls.filter((call) => call === "core run").length).toBeGreaterThanOrEqual(7);
    // The handlers of RDMSR and WRMSR call these two: through the table, as the backend.
    expect(calls).toContain("backend get_msr");
    expect(lines.join("\n")).toMatch(/vcpu 0: get_msr#\d+\(\{\}, msr 0x277\) = false/);
    expect(calls).toContain("core skip_emulated_instruction");
  });

  it("is the same line by line when the run is repeated", async () => {
    expect(await trace()).toEqual(await trace());
  });
});
