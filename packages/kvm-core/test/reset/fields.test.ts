import { describe, expect, it } from "vitest";
import { VcpuArch } from "../../src/contract/index.js";
import { resetFields, type ResetAt, type ResetTable } from "../../src/reset/fields.js";
import { ARCH_RESET, VCPU_RESET } from "../../src/reset/tables.js";
import { VcpuFields } from "../../src/state/vcpu-state.js";
import { scriptedVcpu } from "../support/scripted.js";

/** Another value of the same kind. */
function changed(value: unknown): unknown {
  switch (typeof value) {
    case "number":
      return value + 1;
    case "bigint":
      return value + 1n;
    case "boolean":
      return !value;
    case "string":
      return `not ${value}`;
    case "undefined":
      return () => true;
    default:
      throw new Error(`what is another value of ${String(value)}?`);
  }
}

/** Change all that an object holds, in place. */
function changeAll(target: object): void {
  if (ArrayBuffer.isView(target)) {
    const view = target as Uint8Array | BigUint64Array;
    for (let i = 0; i < view.length; i++) Reflect.set(view, i, changed(view[i]));
  } else if (target instanceof Map) {
    target.set(0x277, 0x11n);
  } else {
    for (const [key, value] of Object.entries(target)) {
      if (typeof value === "object" && value !== null) changeAll(value as object);
      else Reflect.set(target, key, changed(value));
    }
  }
}

/** The fields of a table as values that can be compared, those of `names` alone. */
const snapshot = (state: object, names: readonly string[]) =>
  structuredClone(
    Object.fromEntries(
      names.map((name) => {
        const value: unknown = Reflect.get(state, name);
        return [name, typeof value === "function" ? "a function" : value];
      }),
    ),
  );

const { vm } = scriptedVcpu();
/** State, as it is made, with the table that brings it back. */
const STATES: readonly (readonly [string, () => object, Readonly<Record<string, ResetAt>>])[] = [
  ["VcpuArch", () => new VcpuArch(), ARCH_RESET],
  ["VcpuFields", () => new VcpuFields(vm, 0, undefined), VCPU_RESET],
];

describe.each(STATES)("the reset of %s", (_name, make, table) => {
  const names = Object.keys(table);
  const resettable = names.filter((name) => table[name] !== "never");
  const reset = (state: object, rows: Readonly<Record<string, ResetAt>>, initEvent: boolean): void =>
    resetFields(state, make(), rows as ResetTable<object>, initEvent);
  const dirty = (): object => {
    const state = make();
    for (const name of resettable) {
      const value: unknown = Reflect.get(state, name);
      if (typeof value === "object" && value !== null) changeAll(value);
      else Reflect.set(state, name, changed(value));
    }
    return state;
  };

  it("has a row for every field", () => {
    const fields = Object.keys(make()).filter((name) => typeof Reflect.get(make(), name) !== "function");
    expect([...names].sort()).toEqual([...new Set([...fields, ...names])].sort());
  });

  it("leaves at power-on what a fresh one has", () => {
    const state = dirty();
    reset(state, table, false);
    expect(snapshot(state, resettable)).toEqual(snapshot(make(), resettable));
  });

  it.each(resettable)("would be noticed if the row of %s were taken out", (name) => {
    const state = dirty();
    reset(state, { ...table, [name]: "never" }, false);
    const before = snapshot(make(), resettable);
    const after = snapshot(state, resettable);
    expect(after[name]).not.toEqual(before[name]);
    expect({ ...after, [name]: before[name] }).toEqual(before);
  });

  it("keeps at INIT what power-on alone clears, and clears the rest", () => {
    const state = dirty();
    const dirtied = snapshot(state, resettable);
    reset(state, table, true);
    const fresh = snapshot(make(), resettable);
    const after = snapshot(state, resettable);
    for (const name of resettable) {
      expect({ [name]: after[name] }).toEqual({ [name]: table[name] === "power-on" ? dirtied[name] : fresh[name] });
    }
  });
});

describe("what a table brings back", () => {
  const named = (table: Readonly<Record<string, ResetAt>>, at: ResetAt): string[] =>
    Object.keys(table)
      .filter((name) => table[name] === at)
      .sort();

  // SDM vol. 3, "Processor State After Reset": what its table does not list as kept over INIT, both clear.
  it("at power-on and INIT is what the manual has both clear, and what hangs on it", () => {
    expect(named(ARCH_RESET, "reset")).toEqual(
      [
        ...["regs", "regsAvail", "regsDirty", "cr2", "cr3", "cr8", "db", "dr6", "dr7", "mmu", "hflags"],
        ...["exception", "interrupt", "eventExitInstLen", "nmiPending", "nmiInjected"],
      ].sort(),
    );
    expect(named(VCPU_RESET, "reset")).toEqual(["completeUserspaceIo", "nmiQueued"]);
  });

  it("at power-on alone is what the manual has INIT keep: x87, SSE, XCR0, MSRs, SMBASE", () => {
    expect(named(ARCH_RESET, "power-on")).toEqual(["guestFpu", "msrs", "requests", "tscAdjust", "xcr0", "xss"]);
    expect(named(VCPU_RESET, "power-on")).toEqual(["blocking", "smbase"]);
  });
});
