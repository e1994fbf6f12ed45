import { describe, expect, it } from "vitest";
import { CpuState, GuestException, slot, type UopDefinition } from "../../src/index.js";
import { RowHarness } from "./harness.js";

const A = slot("t0");
const D = slot("t1");

/** d = a + 1, quick for even values alone; #DE for 7. */
const row: UopDefinition = {
  name: "increment",
  summary: "d = a + 1",
  operands: ["d", "a"],
  faults: true,
  wasm: (e) => {
    e.a();
    e.w.i64(1n);
    e.w.op("i64.and", "i64.eqz");
    e.w.if(
      () =>
        e.setD(() => {
          e.a();
          // Tells the quick way from the other.
          e.w.i64(1001n);
          e.w.op("i64.add");
        }),
      () => e.evaluate(),
    );
  },
  evaluate: (v) => {
    if (v.a() === 7n) throw new GuestException(0);
    v.setD(v.a() + 1n);
  },
};

function run(a: bigint): { d: bigint; fault: string | undefined } {
  const state = new CpuState();
  state.set64(A, a);
  state.set64(D, 99n);
  const { state: after, fault } = new RowHarness(row).wasm(
    { op: 0, d: D, a: A, b: 0, imm: 0n },
    new Uint8Array(state.buffer as ArrayBuffer),
  );
  const result = new CpuState(new Uint8Array(Buffer.from(after, "hex")).buffer);
  return { d: result.get64(D), fault };
}

describe("the bigint meaning of a row, called by its generated code", () => {
  it("is not asked for where the quick way serves", () => {
    expect(run(4n)).toEqual({ d: 1005n, fault: undefined });
  });

  it("works on the same state bytes", () => {
    expect(run(5n)).toEqual({ d: 6n, fault: undefined });
  });

  it("leaves the block with the exception that it throws", () => {
    expect(run(7n)).toEqual({ d: 99n, fault: "#0()" });
  });
});
