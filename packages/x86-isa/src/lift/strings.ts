import { uopNamed } from "../uops/table.js";
import { Code, Mnemonic } from "../decode/iced.js";
import type { MemoryOperand } from "../decode/instruction.js";
import { bitsOf } from "../uops/definition.js";
import type { Builder, Size } from "./builder.js";
import type { CodeFamily, Family, Lifter } from "./family.js";

const RAX = 0;
const RCX = 1;
const RSI = 6;
const RDI = 7;
const SEGMENT_FS = 4;

/** Move an index register by one element, down if DF is set. */
function advance(b: Builder, index: number, size: Size): void {
  const addressSize = b.instruction.addressSize;
  b.setRegister(index, addressSize, b.compute("add", b.register(index), b.direction(size)));
}

function stringMemory(b: Builder, through: number): MemoryOperand {
  const found = b.instruction.operands.find(
    (operand) => operand.kind === "memory" && b.registerIndex(operand.base) === through,
  );
  if (found?.kind !== "memory") throw new RangeError("a string instruction needs its memory operand");
  return found;
}

/** One repetition, without the count. Everything that may fault comes before registers change. */
type Element = (b: Builder, size: Size) => void;

/** The row that does many elements at once, by its name without prefix and size. */
type Repeated = "movs" | "stos" | "cmps" | "scas" | undefined;

/** Are the offsets of the instruction linear addresses, and of the width that the code has? */
function offsetsAreLinear({ mode, instruction }: Builder): boolean {
  if (instruction.addressSize * 8 !== mode.bitness || mode.bitness === 16) return false;
  const overridden = instruction.operands.some((o) => o.kind === "memory" && o.segment >= SEGMENT_FS);
  return !overridden && (mode.bitness === 64 || mode.flat);
}

const movs: Element = (b, size) => {
  const from = b.address(stringMemory(b, RSI));
  const value = b.load(from, size);
  b.store(b.address(stringMemory(b, RDI), true), size, value);
  advance(b, RSI, size);
  advance(b, RDI, size);
};

const stos: Element = (b, size) => {
  b.store(b.address(stringMemory(b, RDI), true), size, b.register(RAX));
  advance(b, RDI, size);
};

const lods: Element = (b, size) => {
  const value = b.load(b.address(stringMemory(b, RSI)), size);
  b.setRegister(RAX, size, value);
  advance(b, RSI, size);
};

const cmps: Element = (b, size) => {
  const first = b.load(b.address(stringMemory(b, RSI)), size);
  const second = b.load(b.address(stringMemory(b, RDI)), size);
  advance(b, RSI, size);
  advance(b, RDI, size);
  b.emit(`cmp${bitsOf(size)}`, { a: first, b: second });
};

const scas: Element = (b, size) => {
  const value = b.load(b.address(stringMemory(b, RDI)), size);
  advance(b, RDI, size);
  b.emit(`cmp${bitsOf(size)}`, { a: b.register(RAX), b: value });
};

/**
 * A string instruction. With a REP prefix it is a block of its own that does one element and jumps to itself while
 * there is more to do, so that it can be interrupted between elements as on hardware. Elements before that one may be
 * done by a row for many.
 *
 * @param compares REPE and REPNE end it by ZF
 */
const string =
  (element: Element, size: Size, repeated?: Repeated): Lifter =>
  (b, i) => {
    if (!i.rep && !i.repne) {
      element(b, size);
      return;
    }
    const addressSize = i.addressSize;
    const compares = repeated === "cmps" || repeated === "scas";
    const again = b.copy(0n);
    b.skipIfZero(b.slot(b.zeroExtend(b.register(RCX), addressSize)), () => {
      if (repeated !== undefined && offsetsAreLinear(b)) {
        const prefix = !compares || i.rep ? (compares ? "repe" : "rep") : "repne";
        const imm = addressSize === 8 ? -1n : 0xffff_ffffn;
        b.emit(uopNamed(`${prefix}${repeated}${bitsOf(size)}`), { imm });
      }
      element(b, size);
      const count = b.zeroExtend(b.compute("sub", b.register(RCX), 1n), addressSize);
      b.setRegister(RCX, addressSize, count);
      const more = b.compute("xor", b.unary("eqz", count), 1n);
      b.move(again, compares ? b.compute("and", more, b.condition(i.rep ? 4 : 5)) : more);
    });
    b.repeatIfNotZero(again);
  };

export const STRINGS: Family = {
  [Mnemonic.Movsb]: string(movs, 1, "movs"),
  [Mnemonic.Movsw]: string(movs, 2, "movs"),
  [Mnemonic.Movsq]: string(movs, 8, "movs"),
  [Mnemonic.Stosb]: string(stos, 1, "stos"),
  [Mnemonic.Stosw]: string(stos, 2, "stos"),
  [Mnemonic.Stosd]: string(stos, 4, "stos"),
  [Mnemonic.Stosq]: string(stos, 8, "stos"),
  [Mnemonic.Lodsb]: string(lods, 1),
  [Mnemonic.Lodsw]: string(lods, 2),
  [Mnemonic.Lodsd]: string(lods, 4),
  [Mnemonic.Lodsq]: string(lods, 8),
  [Mnemonic.Cmpsb]: string(cmps, 1, "cmps"),
  [Mnemonic.Cmpsw]: string(cmps, 2, "cmps"),
  [Mnemonic.Cmpsq]: string(cmps, 8, "cmps"),
  [Mnemonic.Scasb]: string(scas, 1, "scas"),
  [Mnemonic.Scasw]: string(scas, 2, "scas"),
  [Mnemonic.Scasd]: string(scas, 4, "scas"),
  [Mnemonic.Scasq]: string(scas, 8, "scas"),
};

/** SSE has instructions of the same name. */
export const STRING_CODES: CodeFamily = {
  [Code.Movsd_m32_m32]: string(movs, 4, "movs"),
  [Code.Cmpsd_m32_m32]: string(cmps, 4, "cmps"),
};
