import { Mnemonic } from "../decode/iced.js";
import type { Operand } from "../decode/instruction.js";
import { bitsOf } from "../uops/definition.js";
import type { Address, Builder, Size, Value } from "./builder.js";
import type { Family, Lifter } from "./family.js";

type BitOperation = "bt" | "bts" | "btr" | "btc";

/** The element of a bit string in memory that holds the bit: a register index may reach far beyond the operand. */
function bitElement(
  b: Builder,
  operand: Operand & { kind: "memory" },
  index: Value,
  size: Size,
  write: boolean,
): Address {
  const shift = BigInt(Math.log2(size * 8));
  const element = b.compute("sar", b.signExtend(index, size), shift);
  const bytes = b.compute("shl", element, BigInt(Math.log2(size)));
  const offset = b.zeroExtend(b.compute("add", b.effectiveAddress(operand), bytes), operand.addressSize);
  return b.linear(operand.segment, offset, size, write);
}

function changed(b: Builder, operation: BitOperation, value: number, index: Value): Value {
  if (operation === "bt") return value;
  const mask = b.compute("shl", 1n, index);
  if (operation === "bts") return b.compute("or", value, mask);
  if (operation === "btc") return b.compute("xor", value, mask);
  return b.compute("and", value, b.compute("xor", mask, -1n));
}

/** BT, BTS, BTR, BTC: CF is the bit; ZF stays, and so do the flags that the manual leaves undefined. */
const bitTest =
  (operation: BitOperation): Lifter =>
  (b) => {
    const operand = b.operand(0);
    const size = b.sizeOf(operand);
    const source = b.operand(1);
    const index = b.read(source);
    const mask = BigInt(size * 8 - 1);
    const bit: Value = typeof index === "bigint" ? index & mask : b.compute("and", index, mask);
    const writes = operation !== "bt";
    if (operand.kind === "memory") {
      const at = source.kind === "immediate" ? b.address(operand, writes) : bitElement(b, operand, index, size, writes);
      const value = b.load(at, size, writes);
      const carry = b.compute("shr", value, bit);
      if (writes) b.store(at, size, changed(b, operation, value, bit));
      b.emit("setcf", { a: carry });
    } else if (operand.kind === "register") {
      const value = b.readRegister(operand.register);
      const carry = b.compute("shr", value, bit);
      if (writes) b.writeRegister(operand.register, changed(b, operation, value, bit));
      b.emit("setcf", { a: carry });
    }
  };

/** Flags of a logical result: ZF, SF and PF from it, the others zero. */
function logicFlags(b: Builder, value: Value, size: Size): void {
  b.emit(`logic${bitsOf(size)}`, { a: b.slot(value) });
}

/** BSF and BSR: ZF says that the source is zero; the destination then keeps its value. */
const bitScan =
  (row: "ctz64" | "clz64"): Lifter =>
  (b) => {
    const destination = b.operand(0);
    const source = b.operand(1);
    if (destination.kind !== "register") throw new RangeError("a bit scan needs a register");
    const size = b.sizeOf(destination);
    const value = b.slot(b.zeroExtend(b.read(source), size));
    const found = b.unary(row, value);
    const index = row === "ctz64" ? found : b.compute("xor", found, 63n);
    const result = b.copy(b.readRegister(destination.register));
    b.moveIf(result, value, index);
    b.emit("setzf", { a: b.unary("eqz", value) });
    if (size === 4) keepIfZero(b, destination.register, value, result);
    else b.writeRegister(destination.register, result);
  };

/** With a source of zero all 64 bits of the destination stay, even for an operand size of 32 bits. */
function keepIfZero(b: Builder, register: number, value: number, result: number): void {
  const d = b.readRegister(register);
  const narrow = b.unary("zx32", result);
  b.moveIf(d, value, narrow);
}

/** TZCNT and LZCNT: the operand size for a source of zero, and CF. */
const countZeros =
  (row: "ctz64" | "clz64"): Lifter =>
  (b) => {
    const destination = b.operand(0);
    const source = b.operand(1);
    if (destination.kind !== "register") throw new RangeError("a count needs a register");
    const size = b.sizeOf(destination);
    const width = BigInt(size * 8);
    const value = b.slot(b.zeroExtend(b.read(source), size));
    let count: number;
    if (row === "ctz64") {
      // A bit just above the operand ends the count at its width.
      count = b.unary("ctz64", size === 8 ? value : b.compute("or", value, 1n << width));
    } else {
      count = b.compute("sub", b.unary("clz64", value), 64n - width);
    }
    logicFlags(b, count, 8);
    b.emit("setcf", { a: b.unary("eqz", value) });
    b.writeRegister(destination.register, count);
  };

const popcnt: Lifter = (b) => {
  const destination = b.operand(0);
  if (destination.kind !== "register") throw new RangeError("POPCNT needs a register");
  const size = b.sizeOf(destination);
  const value = b.slot(b.zeroExtend(b.read(b.operand(1)), size));
  const count = b.unary("popcnt64", value);
  // ZF says that the source is zero; all other flags are cleared.
  b.emit("setflags", { a: b.compute("shl", b.unary("eqz", value), 6n) });
  b.writeRegister(destination.register, count);
};

const crc32: Lifter = (b) => {
  const destination = b.operand(0);
  const source = b.operand(1);
  if (destination.kind !== "register") throw new RangeError("CRC32 needs a register");
  const size = b.sizeOf(source);
  const value = b.slot(b.read(source));
  const crc = b.copy(b.readRegister(destination.register));
  b.emit(`crc32_${bitsOf(size)}`, { d: crc, a: value });
  b.writeRegister(destination.register, crc);
};

// --- BMI1 and BMI2 ---

const andn: Lifter = (b) => {
  const destination = b.operand(0);
  if (destination.kind !== "register") throw new RangeError("ANDN needs a register");
  const size = b.sizeOf(destination);
  const source = b.read(b.operand(2));
  const result = b.compute("and", b.compute("xor", b.slot(b.read(b.operand(1))), -1n), source);
  logicFlags(b, result, size);
  b.writeRegister(destination.register, result);
};

/** BLSI, BLSMSK, BLSR: what the lowest set bit of the source makes of it. */
const lowestBit =
  (name: "blsi" | "blsmsk" | "blsr"): Lifter =>
  (b) => {
    const destination = b.operand(0);
    if (destination.kind !== "register") throw new RangeError("a bit operation needs a register");
    const size = b.sizeOf(destination);
    const source = b.slot(b.zeroExtend(b.read(b.operand(1)), size));
    const less = b.compute("sub", source, 1n);
    const isZero = b.unary("eqz", source);
    let result: number;
    if (name === "blsi") result = b.compute("and", source, b.compute("xor", less, -1n));
    else result = b.compute(name === "blsr" ? "and" : "xor", source, less);
    logicFlags(b, result, size);
    b.emit("setcf", { a: name === "blsi" ? b.compute("xor", isZero, 1n) : isZero });
    b.writeRegister(destination.register, result);
  };

const bextr: Lifter = (b) => {
  const destination = b.operand(0);
  if (destination.kind !== "register") throw new RangeError("BEXTR needs a register");
  const size = b.sizeOf(destination);
  const source = b.zeroExtend(b.read(b.operand(1)), size);
  const control = b.slot(b.read(b.operand(2)));
  const start = b.unary("zx8", control);
  const length = b.unary("zx8h", control);
  const result = b.copy(0n);
  b.moveIf(result, b.compute("ltu", start, 64n), b.compute("shr", source, start));
  const ones = b.compute("sub", b.compute("shl", 1n, length), 1n);
  const mask = b.copy(-1n);
  b.moveIf(mask, b.compute("ltu", length, 64n), ones);
  const field = b.compute("and", result, mask);
  logicFlags(b, field, size);
  b.writeRegister(destination.register, field);
};

const bzhi: Lifter = (b) => {
  const destination = b.operand(0);
  if (destination.kind !== "register") throw new RangeError("BZHI needs a register");
  const size = b.sizeOf(destination);
  const source = b.slot(b.zeroExtend(b.read(b.operand(1)), size));
  const index = b.unary("zx8", b.read(b.operand(2)));
  const inRange = b.compute("ltu", index, BigInt(size * 8));
  const mask = b.compute("sub", b.compute("shl", 1n, index), 1n);
  const result = b.copy(source);
  b.moveIf(result, inRange, b.compute("and", source, mask));
  logicFlags(b, result, size);
  b.emit("setcf", { a: b.compute("xor", inRange, 1n) });
  b.writeRegister(destination.register, result);
};

/** PDEP and PEXT: operands are zero-extended, so 64-bit rows serve both sizes. */
const scatter =
  (row: "pdep64" | "pext64"): Lifter =>
  (b) => {
    const destination = b.operand(0);
    if (destination.kind !== "register") throw new RangeError("a bit operation needs a register");
    const size = b.sizeOf(destination);
    const mask = b.slot(b.zeroExtend(b.read(b.operand(2)), size));
    const source = b.slot(b.zeroExtend(b.read(b.operand(1)), size));
    const d = b.temp();
    b.emit(row, { d, a: source, b: mask });
    b.writeRegister(destination.register, d);
  };

export const BITS: Family = {
  [Mnemonic.Bt]: bitTest("bt"),
  [Mnemonic.Bts]: bitTest("bts"),
  [Mnemonic.Btr]: bitTest("btr"),
  [Mnemonic.Btc]: bitTest("btc"),
  [Mnemonic.Bsf]: bitScan("ctz64"),
  [Mnemonic.Bsr]: bitScan("clz64"),
  [Mnemonic.Tzcnt]: countZeros("ctz64"),
  [Mnemonic.Lzcnt]: countZeros("clz64"),
  [Mnemonic.Popcnt]: popcnt,
  [Mnemonic.Crc32]: crc32,
  [Mnemonic.Andn]: andn,
  [Mnemonic.Blsi]: lowestBit("blsi"),
  [Mnemonic.Blsmsk]: lowestBit("blsmsk"),
  [Mnemonic.Blsr]: lowestBit("blsr"),
  [Mnemonic.Bextr]: bextr,
  [Mnemonic.Bzhi]: bzhi,
  [Mnemonic.Pdep]: scatter("pdep64"),
  [Mnemonic.Pext]: scatter("pext64"),
};
