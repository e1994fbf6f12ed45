import { uopNamed } from "../uops/table.js";
import { Mnemonic } from "../decode/iced.js";
import { segmentRegister } from "../decode/registers.js";
import { SEGMENT_NAMES, slot } from "../state/layout.js";
import { bitsOf } from "../uops/definition.js";
import type { Family, Lifter } from "./family.js";
import type { Builder, Size, Value } from "./builder.js";
import type { Operand } from "../decode/instruction.js";

/** The selector of a segment register, in the low 16 bits of a slot. */
export function selectorOf(b: Builder, segment: number): number {
  const name = SEGMENT_NAMES[segment];
  if (name === undefined) throw new RangeError(`segment register ${segment} does not exist`);
  return b.unary("zx16", slot(`${name}.selector`));
}

function write(b: Builder, destination: Operand, value: Value, size: Size): void {
  if (destination.kind === "register") b.writeRegister(destination.register, value);
  else if (destination.kind === "memory") b.store(b.address(destination, true), size, value);
}

const mov: Lifter = (b) => {
  const destination = b.operand(0);
  const source = b.operand(1);
  const segment = source.kind === "register" ? segmentRegister(source.register) : -1;
  if (segment >= 0) {
    // To a register of 32 or 64 bits zero-extended, to memory 16 bits whatever the operand size.
    write(b, destination, selectorOf(b, segment), 2);
    return;
  }
  const size = b.sizeOf(destination);
  if (!loadWhole(b, destination, source, size)) write(b, destination, b.read(source), size);
};

/** A load, zero-extended, right into a register that is written as a whole. */
function loadWhole(b: Builder, destination: Operand, source: Operand, size: Size): boolean {
  const whole = destination.kind === "register" ? b.wholeRegister(destination.register) : undefined;
  if (whole === undefined || source.kind !== "memory") return false;
  b.load(b.address(source), size, false, whole);
  return true;
}

const movzx: Lifter = (b) => {
  const destination = b.operand(0);
  const source = b.operand(1);
  const size = b.sizeOf(source);
  if (destination.kind !== "register") throw new RangeError("MOVZX needs a register");
  if (loadWhole(b, destination, source, size)) return;
  const whole = b.wholeRegister(destination.register);
  if (whole === undefined) b.writeRegister(destination.register, b.zeroExtend(b.read(source), size));
  else b.emit(uopNamed(`zx${bitsOf(size)}`), { d: whole, a: b.slot(b.read(source)) });
};

const movsx: Lifter = (b) => {
  const destination = b.operand(0);
  const source = b.operand(1);
  if (destination.kind !== "register") throw new RangeError("MOVSX needs a register");
  // MOVSXD with a 16-bit destination reads 16 bits, whatever its source is called.
  const size = Math.min(b.sizeOf(source), b.sizeOf(destination)) as Size;
  const value = b.read(source);
  if (b.sizeOf(destination) !== 8 || size === 8) b.writeRegister(destination.register, b.signExtend(value, size));
  else b.emit(`sx${bitsOf(size)}`, { d: b.slot(b.readRegister(destination.register)), a: b.slot(value) });
};

const lea: Lifter = (b, i) => {
  const destination = b.operand(0);
  if (i.memory === undefined || destination.kind !== "register") throw new RangeError("LEA needs memory");
  const size = b.sizeOf(destination);
  const d = b.slot(b.readRegister(destination.register));
  const address = b.effectiveAddress(i.memory, size === 8 ? d : undefined);
  if (address !== d) b.writeRegister(destination.register, address);
};

const xchg: Lifter = (b) => {
  // Either operand may be the one in memory; it is written first because it may fault.
  const first = b.operand(0).kind === "memory" ? b.operand(0) : b.operand(1);
  const second = first === b.operand(0) ? b.operand(1) : b.operand(0);
  if (second.kind !== "register") throw new RangeError("XCHG needs a register");
  if (first.kind === "memory") {
    const size = b.sizeOf(first);
    const at = b.address(first, true);
    const old = b.load(at, size, true);
    b.store(at, size, b.readRegister(second.register));
    b.writeRegister(second.register, old);
  } else if (first.kind === "register") {
    const old = b.copy(b.readRegister(first.register));
    const other = b.copy(b.readRegister(second.register));
    b.writeRegister(first.register, other);
    b.writeRegister(second.register, old);
  }
};

const xadd: Lifter = (b) => {
  const target = b.target(b.operand(0));
  const source = b.operand(1);
  if (source.kind !== "register") throw new RangeError("XADD needs a register");
  const size = b.sizeOf(source);
  const old = b.copy(target.value);
  const sum = b.binary("add", size, b.temp(), old, b.readRegister(source.register));
  b.move(target.result, sum);
  if (b.operand(0).kind === "memory") {
    target.commit();
    b.writeRegister(source.register, old);
  } else {
    // With one register for both, the sum wins (SDM vol. 2, "XADD": TEMP is written to SRC first).
    b.writeRegister(source.register, old);
    if (target.result !== sum) b.move(target.result, sum);
    target.commit();
  }
};

const cmpxchg: Lifter = (b) => {
  const destination = b.operand(0);
  const source = b.operand(1);
  if (source.kind !== "register") throw new RangeError("CMPXCHG needs a register");
  const size = b.sizeOf(source);
  const accumulator = b.register(0);
  const replacement = b.readRegister(source.register);
  if (destination.kind === "memory") {
    const at = b.address(destination, true);
    const old = b.load(at, size, true);
    const equal = b.unary("eqz", b.zeroExtend(b.compute("xor", old, accumulator), size));
    const stored = b.copy(old);
    b.moveIf(stored, equal, replacement);
    // The destination is written in either case (SDM vol. 2, "CMPXCHG").
    b.store(at, size, stored);
    b.emit(`cmp${bitsOf(size)}`, { a: accumulator, b: old });
    setUnless(b, 0, size, equal, old);
  } else if (destination.kind === "register") {
    const d = b.readRegister(destination.register);
    const old = b.copy(d);
    const equal = b.unary("eqz", b.zeroExtend(b.compute("xor", old, accumulator), size));
    const next = b.copy(size === 4 ? b.zeroExtend(replacement, 4) : replacement);
    b.emit(`cmp${bitsOf(size)}`, { a: accumulator, b: old });
    setUnless(b, 0, size, equal, old);
    // A register that does not match is left alone altogether: its upper half is not cleared either.
    if (size >= 4) {
      b.moveIf(d, equal, next);
    } else {
      const kept = b.copy(old);
      b.moveIf(kept, equal, next);
      b.writeRegister(destination.register, kept);
    }
  }
};

/** Write a register unless the condition holds; then nothing of it changes. */
function setUnless(b: Builder, index: number, size: Size, condition: number, value: number): void {
  const d = b.register(index);
  if (size === 4 || size === 8) {
    const next = b.copy(size === 4 ? b.zeroExtend(value, 4) : value);
    b.moveIf(next, condition, d);
    b.move(d, next);
  } else {
    const next = b.copy(value);
    b.moveIf(next, condition, d);
    b.setRegister(index, size, next);
  }
}

const cmpxchg8b: Lifter = (b, i) => {
  if (i.memory === undefined) throw new RangeError("CMPXCHG8B needs memory");
  const at = b.address(i.memory, true);
  const [rax, rcx, rdx, rbx] = [b.register(0), b.register(1), b.register(2), b.register(3)];
  const old = b.load(at, 8, true);
  const expected = b.compute("or", b.compute("shl", rdx, 32n), b.zeroExtend(rax, 4));
  const equal = b.unary("eqz", b.compute("xor", old, expected));
  const stored = b.copy(old);
  b.moveIf(stored, equal, b.compute("or", b.compute("shl", rcx, 32n), b.zeroExtend(rbx, 4)));
  b.store(at, 8, stored);
  b.emit("setzf", { a: equal });
  const low = b.copy(b.zeroExtend(old, 4));
  b.moveIf(low, equal, rax);
  b.move(rax, low);
  const high = b.compute("shr", old, 32n);
  b.moveIf(high, equal, rdx);
  b.move(rdx, high);
};

const cmpxchg16b: Lifter = (b, i) => {
  if (i.memory === undefined) throw new RangeError("CMPXCHG16B needs memory");
  const at = b.address(i.memory, true);
  const [rax, rcx, rdx, rbx] = [b.register(0), b.register(1), b.register(2), b.register(3)];
  b.raiseIf(b.compute("and", b.compute("add", at.slot, at.displacement), 15n), 13, 0);
  const upper = b.offsetBy(at, 8n);
  const oldLow = b.load(at, 8, true);
  const oldHigh = b.load(upper, 8, true);
  const difference = b.compute("or", b.compute("xor", oldLow, rax), b.compute("xor", oldHigh, rdx));
  const equal = b.unary("eqz", difference);
  const low = b.copy(oldLow);
  b.moveIf(low, equal, rbx);
  const high = b.copy(oldHigh);
  b.moveIf(high, equal, rcx);
  b.store(at, 8, low);
  b.store(upper, 8, high);
  b.emit("setzf", { a: equal });
  b.moveIf(oldLow, equal, rax);
  b.moveIf(oldHigh, equal, rdx);
  b.move(rax, oldLow);
  b.move(rdx, oldHigh);
};

const movbe: Lifter = (b) => {
  const source = b.operand(1);
  const destination = b.operand(0);
  const size = b.sizeOf(destination);
  write(b, destination, swapped(b, b.read(source), size), size);
};

/** The bytes of a value in reverse, zero-extended. */
function swapped(b: Builder, value: Value, size: Size): number {
  const d = b.unary("bswap64", value);
  return size === 8 ? d : b.compute("shr", d, BigInt(64 - size * 8));
}

const bswap: Lifter = (b) => {
  const operand = b.operand(0);
  if (operand.kind !== "register") throw new RangeError("BSWAP needs a register");
  const size = b.sizeOf(operand);
  // The result for 16 bits is undefined by the manual; processors give zero.
  if (size === 2) b.writeRegister(operand.register, 0n);
  else b.writeRegister(operand.register, swapped(b, b.readRegister(operand.register), size));
};

const xlat: Lifter = (b, i) => {
  if (i.memory === undefined) throw new RangeError("XLAT needs memory");
  b.setRegister(0, 1, b.load(b.address(i.memory), 1));
};

export const MOVES: Family = {
  [Mnemonic.Mov]: mov,
  [Mnemonic.Movzx]: movzx,
  [Mnemonic.Movsx]: movsx,
  [Mnemonic.Movsxd]: movsx,
  [Mnemonic.Movdiri]: mov,
  [Mnemonic.Movnti]: mov,
  [Mnemonic.Lea]: lea,
  [Mnemonic.Xchg]: xchg,
  [Mnemonic.Xadd]: xadd,
  [Mnemonic.Cmpxchg]: cmpxchg,
  [Mnemonic.Cmpxchg8b]: cmpxchg8b,
  [Mnemonic.Cmpxchg16b]: cmpxchg16b,
  [Mnemonic.Movbe]: movbe,
  [Mnemonic.Bswap]: bswap,
  [Mnemonic.Xlatb]: xlat,
};
