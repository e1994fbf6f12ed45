import { Code, Mnemonic } from "../decode/iced.js";
import type { MemoryOperand } from "../decode/instruction.js";
import type { Builder, Size } from "./builder.js";
import type { CodeFamily, Family, Lifter } from "./family.js";

const RAX = 0;
const RCX = 1;
const RSI = 6;
const RDI = 7;

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
  b.emit(`cmp${size * 8}`, { a: first, b: second });
};

const scas: Element = (b, size) => {
  const value = b.load(b.address(stringMemory(b, RDI)), size);
  advance(b, RDI, size);
  b.emit(`cmp${size * 8}`, { a: b.register(RAX), b: value });
};

/**
 * A string instruction. With a REP prefix it is a block of its own that does one element and jumps to itself while
 * there is more to do, so that it can be interrupted between elements as on hardware.
 *
 * @param compares REPE and REPNE end it by ZF
 */
const string =
  (element: Element, size: Size, compares = false): Lifter =>
  (b, i) => {
    if (!i.rep && !i.repne) {
      element(b, size);
      return;
    }
    const addressSize = i.addressSize;
    const again = b.copy(0n);
    b.skipIfZero(b.slot(b.zeroExtend(b.register(RCX), addressSize)), () => {
      element(b, size);
      const count = b.zeroExtend(b.compute("sub", b.register(RCX), 1n), addressSize);
      b.setRegister(RCX, addressSize, count);
      const more = b.compute("xor", b.unary("eqz", count), 1n);
      b.move(again, compares ? b.compute("and", more, b.condition(i.rep ? 4 : 5)) : more);
    });
    b.repeatIfNotZero(again);
  };

export const STRINGS: Family = {
  [Mnemonic.Movsb]: string(movs, 1),
  [Mnemonic.Movsw]: string(movs, 2),
  [Mnemonic.Movsq]: string(movs, 8),
  [Mnemonic.Stosb]: string(stos, 1),
  [Mnemonic.Stosw]: string(stos, 2),
  [Mnemonic.Stosd]: string(stos, 4),
  [Mnemonic.Stosq]: string(stos, 8),
  [Mnemonic.Lodsb]: string(lods, 1),
  [Mnemonic.Lodsw]: string(lods, 2),
  [Mnemonic.Lodsd]: string(lods, 4),
  [Mnemonic.Lodsq]: string(lods, 8),
  [Mnemonic.Cmpsb]: string(cmps, 1, true),
  [Mnemonic.Cmpsw]: string(cmps, 2, true),
  [Mnemonic.Cmpsq]: string(cmps, 8, true),
  [Mnemonic.Scasb]: string(scas, 1, true),
  [Mnemonic.Scasw]: string(scas, 2, true),
  [Mnemonic.Scasd]: string(scas, 4, true),
  [Mnemonic.Scasq]: string(scas, 8, true),
};

/** SSE has instructions of the same name. */
export const STRING_CODES: CodeFamily = {
  [Code.Movsd_m32_m32]: string(movs, 4),
  [Code.Cmpsd_m32_m32]: string(cmps, 4, true),
};
