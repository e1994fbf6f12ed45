import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UOPS, WasmModule, decodeUop, encodeUop, type WasmWriter } from "../../src/index.js";

function instantiate(write: (module: WasmModule) => void, imports: WebAssembly.Imports = {}): WebAssembly.Exports {
  const module = new WasmModule();
  write(module);
  return new WebAssembly.Instance(new WebAssembly.Module(module.finish()), imports).exports;
}

const call = <R>(exports: WebAssembly.Exports, ...values: unknown[]): R =>
  (exports["f"] as (...values: unknown[]) => R)(...values);

describe("the WebAssembly writer", () => {
  it("refuses to finish a function in which a block is open, and to close one that is not", () => {
    expect(() => instantiate((m) => m.function([], [], (w) => void w.openBlock(), "f"))).toThrow(/still open/);
    expect(() => instantiate((m) => m.function([], [], (w) => w.end(), "f"))).toThrow(/no block is open/);
  });

  it("refuses an import after a function, which it would renumber", () => {
    expect(() =>
      instantiate((m) => {
        m.function([], [], () => undefined);
        m.importFunction("host", "late", []);
      }),
    ).toThrow(/before the first/);
  });

  it("refuses an instruction that does not exist", () => {
    expect(() => instantiate((m) => m.function([], [], (w) => w.op("i64.frob" as "nop")))).toThrow(/i64\.frob/);
  });

  it("encodes every integer constant so that it reads back", () => {
    const i64 = fc.bigInt(-(1n << 63n), (1n << 63n) - 1n);
    const i32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
    const edges = [0n, -1n, 63n, 64n, -64n, -65n, (1n << 31n) - 1n, 1n << 31n, -(1n << 31n), -(1n << 63n)];
    fc.assert(
      fc.property(fc.oneof(i64, fc.constantFrom(...edges)), i32, (wide, narrow) => {
        const exports = instantiate((m) => {
          m.function([], ["i64"], (w) => w.i64(wide), "f");
          m.function([], ["i32"], (w) => w.i32(narrow), "g");
        });
        expect(call<bigint>(exports)).toBe(wide);
        expect((exports["g"] as () => number)()).toBe(narrow);
      }),
      { numRuns: 100, seed: 1 },
    );
  });

  it("counts depths: branches reach the block that they name from inside others", () => {
    // 10 for 0, 20 for 1, 30 for anything else.
    const choose = (w: WasmWriter): void => {
      const result = w.local("i32");
      w.block((other) => {
        w.block((one) => {
          w.block((zero) => {
            w.get(0);
            w.brTable([zero, one], other);
          });
          w.i32(10);
          w.op("return");
        });
        w.i32(20);
        w.set(result);
        w.i32(1);
        w.if(() => {
          w.get(result);
          w.op("return");
        });
      });
      w.i32(30);
    };
    const exports = instantiate((m) => m.function(["i32"], ["i32"], choose, "f"));
    expect([0, 1, 2, -1].map((n) => call<number>(exports, n))).toEqual([10, 20, 30, 30]);
  });

  it("declares locals of mixed types in the order in which they were asked for", () => {
    const exports = instantiate((m) =>
      m.function(
        ["i64"],
        ["i64"],
        (w) => {
          const [a, b, c] = [w.local("i32"), w.local("i64"), w.local("i32")];
          w.i32(1);
          w.set(a);
          w.get(0);
          w.set(b);
          w.i32(2);
          w.set(c);
          w.get(b);
          w.get(a);
          w.get(c);
          w.op("i32.add", "i64.extend_i32_u", "i64.add");
        },
        "f",
      ),
    );
    expect(call<bigint>(exports, 40n)).toBe(43n);
  });

  it("writes vector instructions whose numbers take one byte and two", () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const exports = instantiate(
      (m) => {
        m.importMemory("host", "memory", 1);
        m.function(
          [],
          ["i64"],
          (w) => {
            w.i32(16);
            w.v128(1n, 2n);
            w.v128(0x10n, 0x20n);
            w.op("i64x2.add");
            w.mem("v128.store");
            w.i32(0);
            w.mem("v128.load", 16);
            w.lane("i64x2.extract_lane", 1);
          },
          "f",
        );
      },
      { host: { memory } },
    );
    expect(call<bigint>(exports)).toBe(0x22n);
    expect(new DataView(memory.buffer).getBigUint64(16, true)).toBe(0x11n);
  });
});

describe("the form of a micro-operation in memory", () => {
  it("reads back as it was written", () => {
    const u16 = fc.nat(0xffff);
    const uop = fc.record({
      op: fc.nat(UOPS.length - 1),
      d: u16,
      a: u16,
      b: u16,
      imm: fc.bigInt(-(1n << 63n), (1n << 63n) - 1n),
    });
    const view = new DataView(new ArrayBuffer(32));
    fc.assert(
      fc.property(uop, (written) => {
        encodeUop(written, view, 16);
        expect(decodeUop(view, 16)).toEqual(written);
      }),
      { seed: 1 },
    );
  });
});
