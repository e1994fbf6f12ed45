import { Mnemonic } from "../decode/iced.js";
import type { Builder, Value } from "./builder.js";
import type { Family, Lifter } from "./family.js";

const RAX = 0;
const AF = 0x10n;
const CF = 1n;
const DE = 0;

const not = (b: Builder, condition: number): number => b.compute("xor", condition, 1n);

function flagBit(b: Builder, flags: number, mask: bigint): number {
  return not(b, b.unary("eqz", b.compute("and", flags, mask)));
}

/** CF and AF as given; ZF, SF and PF of a byte. */
function adjustFlags(b: Builder, byte: Value, carry: number, auxiliary: number): void {
  b.emit("logic8", { a: b.slot(byte) });
  const rest = b.compute("and", b.rflags(), ~(CF | AF));
  const af = b.compute("shl", auxiliary, 4n);
  b.emit("setflags", { a: b.compute("or", b.compute("or", rest, carry), af) });
}

/** The low digit of AL is above 9, or AF is set. */
function lowDigitAdjusts(b: Builder, flags: number): number {
  const digit = b.compute("and", b.register(RAX), 15n);
  return b.compute("or", b.compute("ltu", 9n, digit), flagBit(b, flags, AF));
}

/** DAA and DAS. */
const packed =
  (operation: "add" | "sub"): Lifter =>
  (b) => {
    const flags = b.rflags();
    const al = b.slot(b.zeroExtend(b.register(RAX), 1));
    const low = lowDigitAdjusts(b, flags);
    const high = b.compute("or", b.compute("ltu", 0x99n, al), flagBit(b, flags, CF));
    const correction = b.compute("mul", low, 6n);
    const byte = b.copy(b.compute(operation, al, correction));
    // Of DAS, the borrow of the first step counts too, even if the second is not taken.
    const borrow = b.compute("and", b.compute("ltu", al, correction), low);
    b.move(byte, b.compute(operation, byte, b.compute("mul", high, 0x60n)));
    b.setRegister(RAX, 1, byte);
    adjustFlags(b, byte, operation === "sub" ? b.compute("or", high, borrow) : high, low);
  };

/** AAA and AAS. */
const unpacked =
  (operation: "add" | "sub"): Lifter =>
  (b) => {
    const adjusts = lowDigitAdjusts(b, b.rflags());
    const ax = b.compute(operation, b.register(RAX), b.compute("mul", adjusts, 0x106n));
    const result = b.compute("and", ax, 0xff0fn);
    b.setRegister(RAX, 2, result);
    adjustFlags(b, result, adjusts, adjusts);
  };

const aam: Lifter = (b) => {
  const operand = b.operand(0);
  const base = operand.kind === "immediate" ? operand.value & 0xffn : 10n;
  if (base === 0n) {
    b.raiseIf(1n, DE);
    return;
  }
  const al = b.slot(b.zeroExtend(b.register(RAX), 1));
  const divisor = b.slot(base);
  const quotient = b.temp();
  const remainder = b.temp();
  b.emit("div64u", { d: quotient, a: al, b: divisor, imm: 8n });
  b.emit("rem64u", { d: remainder, a: al, b: divisor });
  b.setRegister(RAX, 2, b.compute("or", b.compute("shl", quotient, 8n), remainder));
  b.emit("logic8", { a: remainder });
};

const aad: Lifter = (b) => {
  const operand = b.operand(0);
  const base = operand.kind === "immediate" ? operand.value & 0xffn : 10n;
  const al = b.zeroExtend(b.register(RAX), 1);
  const sum = b.compute("add", al, b.compute("mul", b.unary("zx8h", b.register(RAX)), base));
  const byte = b.slot(b.zeroExtend(sum, 1));
  b.setRegister(RAX, 2, byte);
  b.emit("logic8", { a: byte });
};

export const DECIMAL: Family = {
  [Mnemonic.Daa]: packed("add"),
  [Mnemonic.Das]: packed("sub"),
  [Mnemonic.Aaa]: unpacked("add"),
  [Mnemonic.Aas]: unpacked("sub"),
  [Mnemonic.Aam]: aam,
  [Mnemonic.Aad]: aad,
};
