import { OP_NAMES } from "@tapvisor/kvm-core";
import { describe, expect, it } from "vitest";
import { OP_CALLERS } from "../src/op-callers.generated.js";
import { UNCALLED_OPS } from "../src/uncalled-ops.js";
import { findOpCallers } from "../../../tools/generate/op-callers.mjs";

/** A call of an op that is known to have no caller, through receivers of other names than the usual ones. */
const PLANTED = {
  "packages/kvm-core/src/planted.ts": `
    import type { KvmX86Ops, OpCaller, Vcpu } from "./contract/index.js";
    class Holder {
      constructor(private readonly table: OpCaller) {}
      flush(vcpu: Vcpu): void {
        this.table.set_cr3(vcpu, 0);
      }
    }
    export function taken({ has_wbinvd_exit }: OpCaller): boolean {
      return has_wbinvd_exit();
    }
    export const counters = (wheel: { readonly pmu_ops: OpCaller["pmu_ops"] } | undefined): void => {
      wheel?.pmu_ops.find_fixed_event(0);
      [0].forEach((idx) => wheel?.pmu_ops["pmc_idx_to_pmc"]({} as never, idx));
    };
    export function other(names: { get_exit_info(): void }, own: KvmX86Ops, table: OpCaller): boolean {
      names.get_exit_info();
      own.check_intercept({} as never, {} as never, "pre-exception");
      return table.update_pi_irte === undefined;
    }
    export const holder = Holder;
  `,
};

describe("the calls of ops in the sources", () => {
  it("are those that `tapvisor ops` shows, and each op without any awaits a capability", () => {
    const callers = findOpCallers();
    expect([...callers.keys()]).toEqual(OP_NAMES);
    expect(Object.fromEntries(callers)).toEqual(OP_CALLERS);
    const uncalled = OP_NAMES.filter((name) => callers.get(name)?.length === 0);
    expect(uncalled.sort()).toEqual(Object.keys(UNCALLED_OPS).sort());
  }, 120_000);

  it("are found by the type of the table, whatever it is called, and nothing else is taken for one", () => {
    const callers = findOpCallers(PLANTED);
    const place = (name: string) => ({ package: "kvm-core", file: "planted.ts", function: name });
    expect(callers.get("set_cr3")).toEqual([place("Holder.flush")]);
    expect(callers.get("has_wbinvd_exit")).toEqual([place("taken")]);
    expect(callers.get("pmu_ops.find_fixed_event")).toEqual([place("counters")]);
    expect(callers.get("pmu_ops.pmc_idx_to_pmc")).toEqual([place("counters")]);
    for (const name of ["get_exit_info", "check_intercept", "update_pi_irte"]) expect(callers.get(name)).toEqual([]);
  }, 120_000);
});
