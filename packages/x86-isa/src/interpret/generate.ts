import { slot } from "../state/layout.js";
import { UOP_BYTES, type UopDefinition } from "../uops/definition.js";
import { UOPS } from "../uops/table.js";
import { WasmModule } from "../wasm/module.js";
import type { WasmWriter } from "../wasm/writer.js";
import { InterpreterEmitter, type SlowPaths } from "./emitter.js";
import { BLOCK_HEADER_BYTES, ENGINE_FIELD, LEAVE, LOOKUP_ENTRY_BYTES, type InterpreterLayout } from "./layout.js";

/** Import the memory and the functions of the host. */
function importSlowPaths(module: WasmModule): SlowPaths {
  module.importMemory("host", "memory", 1);
  return {
    load: module.importFunction("host", "load", ["i32", "i32"], ["i32"]),
    store: module.importFunction("host", "store", ["i32", "i32"], ["i32"]),
    evaluate: module.importFunction("host", "evaluate", ["i32"], ["i32"]),
  };
}

/**
 * The interpreter: one function `run() -> i32` that executes blocks until it has to leave, and says why (`LEAVE`).
 *
 * It imports `host.memory`, `host.load` and `host.store`, the slow paths of memory accesses, and `host.evaluate`, which
 * runs the bigint meaning of a row. They take the address of the micro-operation, the accesses a size beside it with the
 * rest in the engine's fields, and return 0, or anything else to leave.
 */
export function generateInterpreter(layout: InterpreterLayout): Uint8Array<ArrayBuffer> {
  const module = new WasmModule();
  const slow = importSlowPaths(module);
  const outlined = generateOutlined(module, layout, slow);
  const rip = layout.state + slot("rip");
  const fuel = layout.state + slot("fuel");
  module.function(
    [],
    ["i32"],
    (w) => {
      const pc = w.local("i32");
      const block = w.local("i32");
      const ripLocal = w.local("i64");
      const left = w.local("i64");
      const reason = w.local("i32");
      const link = w.local("i32");
      const entry = w.local("i32");
      const next = w.openLoop();

      // Look the block up: its entry has RIP and the tag in force.
      w.i32(0);
      w.mem("i64.load", rip);
      w.tee(ripLocal);
      w.op("i32.wrap_i64");
      w.get(ripLocal);
      w.op("i32.wrap_i64");
      w.i32(12);
      w.op("i32.shr_u", "i32.xor");
      w.i32(layout.lookupEntries - 1);
      w.op("i32.and");
      w.i32(Math.log2(LOOKUP_ENTRY_BYTES));
      w.op("i32.shl");
      w.tee(entry);
      w.mem("i64.load", layout.lookup);
      w.get(ripLocal);
      w.op("i64.ne");
      w.get(entry);
      w.mem("i32.load", layout.lookup + 8);
      w.i32(0);
      w.mem("i32.load", layout.engine + ENGINE_FIELD.tag);
      w.op("i32.ne", "i32.or");
      w.if(() => {
        w.i32(LEAVE.MISS);
        w.op("return");
      });
      w.get(entry);
      w.mem("i32.load", layout.lookup + 12);
      w.set(block);
      // The way that led here finds it without a lookup from now on.
      w.get(link);
      w.if(() => {
        w.get(link);
        w.get(entry);
        w.mem("v128.load", layout.lookup);
        w.mem("v128.store");
      });

      const enter = w.openLoop();
      // Take the fuel for all of it at once.
      w.i32(0);
      w.mem("i64.load", fuel);
      w.get(block);
      w.mem("i64.load32_u");
      w.op("i64.sub");
      w.tee(left);
      w.i64(0n);
      w.op("i64.lt_s");
      w.if(() => {
        w.i32(LEAVE.FUEL);
        w.op("return");
      });
      w.i32(0);
      w.get(left);
      w.mem("i64.store", fuel);
      w.i32(0);
      w.get(block);
      w.mem("i32.store", layout.engine + ENGINE_FIELD.block);
      w.get(block);
      w.i32(BLOCK_HEADER_BYTES);
      w.op("i32.add");
      w.set(pc);

      const dispatch = w.openLoop();
      const flow = { next, enter, block, link, rip: ripLocal };
      const emitter = new InterpreterEmitter(w, layout, pc, slow, flow);
      const labels = UOPS.map(() => w.openBlock()).reverse();
      const [first] = labels;
      if (first === undefined) throw new RangeError("the table of micro-operations is empty");
      w.get(pc);
      w.mem("i32.load16_u");
      w.brTable(labels, first);
      for (const row of UOPS) {
        w.end();
        const ownFunction = outlined.get(row);
        if (ownFunction === undefined) row.wasm(emitter);
        else {
          w.get(pc);
          w.call(ownFunction);
          w.tee(reason);
          w.if(() => {
            w.get(reason);
            w.op("return");
          });
        }
        if (row.ends !== true) {
          w.get(pc);
          w.i32(UOP_BYTES);
          w.op("i32.add");
          w.set(pc);
          w.br(dispatch);
        }
      }
      w.end();
      w.end();
      w.end();
      w.op("unreachable");
    },
    "run",
  );
  return module.finish();
}

/** The functions of outlined rows, by row: each takes the address of the micro-operation, and returns 0 or a `LEAVE` reason. */
function generateOutlined(
  module: WasmModule,
  layout: InterpreterLayout,
  slow: SlowPaths,
): ReadonlyMap<UopDefinition, number> {
  const functions = new Map<UopDefinition, number>();
  for (const row of UOPS) {
    if (row.outlined !== true) continue;
    const write = (w: WasmWriter): void => {
      row.wasm(new InterpreterEmitter(w, layout, 0, slow, undefined));
      w.i32(0);
    };
    functions.set(row, module.function(["i32"], ["i32"], write));
  }
  return functions;
}

/**
 * A module with one function `run(pc) -> i32` that executes the single micro-operation at `pc`, which must not end a
 * block, and returns 0, or a `LEAVE` reason. For tests that compare a row's two meanings.
 */
export function generateSingle(row: UopDefinition, layout: InterpreterLayout): Uint8Array<ArrayBuffer> {
  const module = new WasmModule();
  const slow = importSlowPaths(module);
  module.function(
    ["i32"],
    ["i32"],
    (w) => {
      const [block, link, rip] = [w.local("i32"), w.local("i32"), w.local("i64")];
      w.block((next) => row.wasm(new InterpreterEmitter(w, layout, 0, slow, { next, enter: next, block, link, rip })));
      w.i32(0);
    },
    "run",
  );
  return module.finish();
}
