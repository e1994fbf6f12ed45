import type { SlotName } from "../state/layout.js";
import { PAGE_OFFSET_MASK, PAGE_SIZE } from "../tables/paging.js";
import { RFLAGS } from "../tables/registers.js";
import type { UopDefinition, UopEmitter } from "./definition.js";
import type { Size } from "./parts.js";

/** Fewer bytes than this are moved or filled element by element, more by the engine's own instruction. */
const BULK_BYTES = 64;

type Pointer = "rsi" | "rdi";

/** The registers that a repeated string instruction goes through memory by, and what it does there. */
interface Pointers {
  readonly source?: Pointer;
  /** A second one that is read. */
  readonly other?: Pointer;
  readonly target?: Pointer;
}

/** What the elements of one run are done with: all of them lie in pages that can be reached, and none ends the loop. */
export interface Run {
  readonly e: UopEmitter;
  readonly size: Size;
  /** i32 local: elements to do; less, after a comparison that ended early. At least 1. */
  readonly count: number;
  /** i32 locals: where the first element of each pointer is in the WebAssembly memory. */
  readonly source: number;
  readonly other: number;
  readonly target: number;
  /** i32 local: bytes from an element to the next, negative if RFLAGS.DF is set. */
  readonly step: number;
  /** i32 locals, free. */
  readonly left: number;
  readonly scratch: number;
}

const LOADS = { 8: "i64.load8_u", 16: "i64.load16_u", 32: "i64.load32_u", 64: "i64.load" } as const;
const STORES = { 8: "i64.store8", 16: "i64.store16", 32: "i64.store32", 64: "i64.store" } as const;

/** Add local `step` to local `at`. */
function advance({ e: { w }, step }: Run, at: number): void {
  w.get(at);
  w.get(step);
  w.op("i32.add");
  w.set(at);
}

/** Do `element` for each of the run; it may branch to `out` before its element is done. */
function forEach(r: Run, pointers: readonly number[], element: (out: number) => void): void {
  const { w } = r.e;
  w.get(r.count);
  w.set(r.left);
  w.block((out) => {
    w.loop((again) => {
      element(out);
      for (const pointer of pointers) advance(r, pointer);
      w.get(r.left);
      w.i32(1);
      w.op("i32.sub");
      w.tee(r.left);
      w.brIf(again);
    });
  });
}

function pushBytes({ e: { w }, size, count }: Run): void {
  w.get(count);
  w.i32(Math.log2(size / 8));
  w.op("i32.shl");
}

/** Push whether the run goes up and has many bytes. */
function pushLong(r: Run): void {
  const { w } = r.e;
  w.get(r.step);
  w.i32(0);
  w.op("i32.gt_s");
  pushBytes(r);
  w.i32(BULK_BYTES);
  w.op("i32.ge_u", "i32.and");
}

/** MOVS. A target that begins within the source sees what earlier elements have put there; otherwise it is one copy. */
export function emitMoving(r: Run): void {
  const { w } = r.e;
  pushLong(r);
  w.get(r.target);
  w.get(r.source);
  w.op("i32.sub");
  pushBytes(r);
  w.op("i32.ge_u", "i32.and");
  w.if(
    () => {
      w.get(r.target);
      w.get(r.source);
      pushBytes(r);
      w.memoryCopy();
    },
    () =>
      forEach(r, [r.source, r.target], () => {
        w.get(r.target);
        w.get(r.source);
        w.mem(LOADS[r.size]);
        w.mem(STORES[r.size]);
      }),
  );
}

/** STOS. */
export function emitFilling(r: Run): void {
  const { e, size } = r;
  const { w } = e;
  const [value, wide] = [e.i64(3), e.v128(0)];
  e.get("rax");
  w.set(value);
  pushLong(r);
  w.if(
    () => {
      // Sixteen bytes at a time, as many as there are; the rest is left for the loop.
      w.get(value);
      w.op(
        ...(size === 64
          ? (["i64x2.splat"] as const)
          : (["i32.wrap_i64", size === 32 ? "i32x4.splat" : size === 16 ? "i16x8.splat" : "i8x16.splat"] as const)),
      );
      w.set(wide);
      pushBytes(r);
      w.i32(4);
      w.op("i32.shr_u");
      w.set(r.left);
      w.get(r.count);
      w.i32(128 / size - 1);
      w.op("i32.and");
      w.set(r.scratch);
      w.loop((again) => {
        w.get(r.target);
        w.get(wide);
        w.mem("v128.store");
        w.get(r.target);
        w.i32(16);
        w.op("i32.add");
        w.set(r.target);
        w.get(r.left);
        w.i32(1);
        w.op("i32.sub");
        w.tee(r.left);
        w.brIf(again);
      });
    },
    () => {
      w.get(r.count);
      w.set(r.scratch);
    },
  );
  w.block((done) => {
    w.loop((again) => {
      w.get(r.scratch);
      w.op("i32.eqz");
      w.brIf(done);
      w.get(r.target);
      w.get(value);
      w.mem(STORES[size]);
      advance(r, r.target);
      w.get(r.scratch);
      w.i32(1);
      w.op("i32.sub");
      w.set(r.scratch);
      w.br(again);
    });
  });
}

/** Elements up to the first that ends the loop: the count becomes theirs. */
function emitSearch(r: Run, pointers: readonly number[], equal: boolean, values: () => void): void {
  const { w } = r.e;
  forEach(r, pointers, (out) => {
    values();
    w.op(equal ? "i64.ne" : "i64.eq");
    w.brIf(out);
  });
  w.get(r.count);
  w.get(r.left);
  w.op("i32.sub");
  w.set(r.count);
}

/** CMPS under REPE (`equal`) or REPNE. */
export function emitComparing(r: Run, equal: boolean): void {
  const { w } = r.e;
  emitSearch(r, [r.source, r.other], equal, () => {
    w.get(r.source);
    w.mem(LOADS[r.size]);
    w.get(r.other);
    w.mem(LOADS[r.size]);
  });
}

/** SCAS under REPE (`equal`) or REPNE. */
export function emitScanning(r: Run, equal: boolean): void {
  const { e, size } = r;
  const wanted = e.i64(3);
  e.get("rax");
  if (size < 64) {
    e.w.i64((1n << BigInt(size)) - 1n);
    e.w.op("i64.and");
  }
  e.w.set(wanted);
  emitSearch(r, [r.source], equal, () => {
    e.w.get(r.source);
    e.w.mem(LOADS[size]);
    e.w.get(wanted);
  });
}

/**
 * A row in front of one element of a repeated string instruction. It does elements before that one, as many as lie in
 * pages that can be reached, as there is fuel for, and as surely are not the last: so the element that faults, ends the
 * loop or sets the flags is always done by the micro-operations that follow.
 *
 * How many it does is the engine's choice, and an instruction can be interrupted between any two elements: the bigint
 * meaning does none.
 */
export function repeatRow(name: string, size: Size, pointers: Pointers, emit: (r: Run) => void): UopDefinition {
  const keepsLast = pointers.target === undefined;
  const used = Object.values(pointers) as Pointer[];
  return {
    name: `${name}${size}`,
    summary: `do elements of ${size} bits at once that are not the last; imm cuts addresses and the count`,
    operands: ["imm"],
    memory: true,
    outlined: true,
    wasm: (e) => {
      const { w } = e;
      const [budget, linear, mask] = [e.i64(0), e.i64(1), e.i64(2)];
      const hosts = { source: e.i32(0), other: e.i32(1), target: e.i32(2) };
      const [count, step, left, scratch] = [e.i32(3), e.i32(4), e.i32(5), e.i32(6)];
      const bytes = size / 8;
      e.imm();
      w.set(mask);
      const pushRegister = (register: SlotName): void => {
        e.get(register);
        w.get(mask);
        w.op("i64.and");
      };
      // All but one, and no more than the fuel left.
      const [all, fuel] = [e.i64(4), e.i64(5)];
      pushRegister("rcx");
      w.i64(1n);
      w.op("i64.sub");
      w.tee(all);
      e.get("fuel");
      w.tee(fuel);
      w.get(all);
      w.get(fuel);
      w.op("i64.lt_u", "select");
      w.set(budget);
      w.i32(-bytes);
      w.i32(bytes);
      e.get("flagsRest");
      w.i64(RFLAGS.DF);
      w.op("i64.and", "i64.eqz", "i32.eqz", "select");
      w.set(step);
      w.block((done) => {
        w.loop((again) => {
          // As many as the budget and the pages hold.
          w.get(budget);
          w.i64(BigInt(PAGE_SIZE));
          w.get(budget);
          w.i64(BigInt(PAGE_SIZE));
          w.op("i64.lt_u", "select", "i32.wrap_i64");
          w.set(count);
          for (const [role, register] of Object.entries(pointers) as [keyof Pointers, Pointer][]) {
            const host = hosts[role];
            pushRegister(register);
            w.set(linear);
            e.reach(linear, role === "target");
            w.tee(host);
            w.op("i32.eqz");
            w.brIf(done);
            emitRoom(e, bytes, host, step, scratch);
            w.get(scratch);
            w.get(count);
            w.get(scratch);
            w.get(count);
            w.op("i32.lt_u", "select");
            w.set(count);
          }
          // A fault behind the run finds the flags of the last element before it, which is therefore left to be compared.
          if (keepsLast) {
            w.get(count);
            w.i32(1);
            w.op("i32.sub");
            w.get(count);
            w.get(count);
            w.op("select");
            w.set(count);
          }
          w.get(count);
          w.op("i32.eqz");
          w.brIf(done);
          emit({ e, size, count, ...hosts, step, left, scratch });
          for (const register of used) {
            e.set(register, () => {
              e.get(register);
              w.get(count);
              w.get(step);
              w.op("i32.mul", "i64.extend_i32_s", "i64.add");
              w.get(mask);
              w.op("i64.and");
            });
          }
          const less = (push: () => void): void => {
            push();
            w.get(count);
            w.op("i64.extend_i32_u", "i64.sub");
          };
          e.set("rcx", () => {
            less(() => e.get("rcx"));
            w.get(mask);
            w.op("i64.and");
          });
          e.set("fuel", () => less(() => e.get("fuel")));
          less(() => w.get(budget));
          w.set(budget);
          // Zero elements: a comparison has come to the one that ends it.
          w.get(count);
          w.op("i32.eqz");
          w.brIf(done);
          w.br(again);
        });
      });
    },
    evaluate: () => undefined,
  };
}

/** Set local `room` to how many elements from the one at `host` on lie in its page. */
function emitRoom(e: UopEmitter, bytes: number, host: number, step: number, room: number): void {
  const { w } = e;
  const shift = Math.log2(bytes);
  const pushOffset = (): void => {
    w.get(host);
    w.i32(PAGE_OFFSET_MASK);
    w.op("i32.and");
  };
  w.get(step);
  w.i32(0);
  w.op("i32.gt_s");
  w.if(
    () => {
      w.i32(PAGE_SIZE);
      pushOffset();
      w.op("i32.sub");
      w.i32(shift);
      w.op("i32.shr_u");
    },
    () => {
      // Down from this one, which has to end in the page too.
      pushOffset();
      w.i32(shift);
      w.op("i32.shr_u");
      w.i32(1);
      w.op("i32.add");
      w.i32(0);
      pushOffset();
      w.i32(PAGE_SIZE - bytes);
      w.op("i32.le_u", "select");
    },
    "i32",
  );
  w.set(room);
}
