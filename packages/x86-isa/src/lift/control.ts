import { Mnemonic } from "../decode/iced.js";
import { slot } from "../state/layout.js";
import { CONDITION_CODES, type Builder, type ConditionCode, type Value } from "./builder.js";
import type { Family, Lifter } from "./family.js";

const CS_LIMIT = slot("cs.limit");
const BR = 5;
const GP = 13;

/** Operand size of a near branch: it decides how far the instruction pointer is cut. */
function branchSize(b: Builder): 2 | 4 | 8 {
  const { operandSize, bitness } = b.instruction;
  return operandSize !== 0 ? operandSize : ((bitness >> 3) as 2 | 4 | 8);
}

function branchTarget(b: Builder): bigint {
  const operand = b.operand(0);
  if (operand.kind !== "branch") throw new RangeError("a branch needs a target");
  return operand.target;
}

/**
 * #GP(0) if the target of a branch lies outside the code segment: beyond its limit, or not canonical in 64-bit mode.
 * A relative branch cannot leave the canonical range without the fetch faulting, so it is not asked there.
 */
function checkTarget(b: Builder, target: Value, condition?: number): void {
  if (b.mode.bitness === 64) {
    if (typeof target === "number") b.emit("canon", { a: target });
    return;
  }
  if (b.mode.flat) return;
  if (typeof target === "bigint" && target <= 0xffffn && !b.mode.protectedMode) return;
  const beyond = b.compute("ltu", b.unary("zx32", CS_LIMIT), target);
  b.raiseIf(condition === undefined ? beyond : b.compute("and", beyond, condition), GP, 0);
}

const jmp: Lifter = (b) => {
  const operand = b.operand(0);
  if (operand.kind === "branch") {
    checkTarget(b, operand.target);
    b.jump(operand.target);
    return;
  }
  const target = b.slot(b.zeroExtend(b.read(operand), branchSize(b)));
  checkTarget(b, target);
  b.jumpTo(target);
};

const call: Lifter = (b) => {
  const operand = b.operand(0);
  const size = branchSize(b);
  if (operand.kind === "branch") {
    checkTarget(b, operand.target);
    b.push(size, b.nextIp());
    b.jump(operand.target);
    return;
  }
  const target = b.copy(b.zeroExtend(b.read(operand), size));
  checkTarget(b, target);
  b.push(size, b.nextIp());
  b.jumpTo(target);
};

const ret: Lifter = (b) => {
  const size = branchSize(b);
  const operand = b.instruction.operands[0];
  const released = operand?.kind === "immediate" ? operand.value : 0n;
  const target = b.loadTop(size);
  checkTarget(b, target);
  b.moveStackPointer(BigInt(size) + released);
  b.jumpTo(target);
};

const jcc =
  (code: ConditionCode): Lifter =>
  (b) => {
    const target = branchTarget(b);
    if (b.mode.bitness !== 64 && !b.mode.flat) checkTarget(b, target, b.condition(code));
    b.jumpIf(code, target);
  };

/** JCXZ, JECXZ, JRCXZ: the counter has the address size. */
const jumpIfCounterZero: Lifter = (b, i) => {
  const target = branchTarget(b);
  const zero = b.unary("eqz", b.zeroExtend(b.register(1), i.addressSize));
  checkTarget(b, target, zero);
  b.jumpIfNotZero(zero, target);
};

/** LOOP, LOOPE, LOOPNE: count down, and jump unless zero (and ZF is as asked). No flags change. */
const loop =
  (zeroFlag: boolean | undefined): Lifter =>
  (b, i) => {
    const target = branchTarget(b);
    const size = i.addressSize;
    const count = b.zeroExtend(b.compute("sub", b.register(1), 1n), size);
    let again = b.compute("xor", b.unary("eqz", count), 1n);
    if (zeroFlag !== undefined) again = b.compute("and", again, b.condition(zeroFlag ? 4 : 5));
    checkTarget(b, target, again);
    b.setRegister(1, size, count);
    b.jumpIfNotZero(again, target);
  };

const CONDITION_MNEMONICS: Readonly<Record<ConditionCode, readonly [set: Mnemonic, move: Mnemonic, jump: Mnemonic]>> = [
  [Mnemonic.Seto, Mnemonic.Cmovo, Mnemonic.Jo],
  [Mnemonic.Setno, Mnemonic.Cmovno, Mnemonic.Jno],
  [Mnemonic.Setb, Mnemonic.Cmovb, Mnemonic.Jb],
  [Mnemonic.Setae, Mnemonic.Cmovae, Mnemonic.Jae],
  [Mnemonic.Sete, Mnemonic.Cmove, Mnemonic.Je],
  [Mnemonic.Setne, Mnemonic.Cmovne, Mnemonic.Jne],
  [Mnemonic.Setbe, Mnemonic.Cmovbe, Mnemonic.Jbe],
  [Mnemonic.Seta, Mnemonic.Cmova, Mnemonic.Ja],
  [Mnemonic.Sets, Mnemonic.Cmovs, Mnemonic.Js],
  [Mnemonic.Setns, Mnemonic.Cmovns, Mnemonic.Jns],
  [Mnemonic.Setp, Mnemonic.Cmovp, Mnemonic.Jp],
  [Mnemonic.Setnp, Mnemonic.Cmovnp, Mnemonic.Jnp],
  [Mnemonic.Setl, Mnemonic.Cmovl, Mnemonic.Jl],
  [Mnemonic.Setge, Mnemonic.Cmovge, Mnemonic.Jge],
  [Mnemonic.Setle, Mnemonic.Cmovle, Mnemonic.Jle],
  [Mnemonic.Setg, Mnemonic.Cmovg, Mnemonic.Jg],
];

const setcc =
  (code: ConditionCode): Lifter =>
  (b) => {
    const operand = b.operand(0);
    const value = b.condition(code);
    if (operand.kind === "register") b.writeRegister(operand.register, value);
    else if (operand.kind === "memory") b.store(b.address(operand, true), 1, value);
  };

/** CMOVcc: the source is read in any case, and a 32-bit destination is zero-extended in any case. */
const cmovcc =
  (code: ConditionCode): Lifter =>
  (b) => {
    const destination = b.operand(0);
    if (destination.kind !== "register") throw new RangeError("CMOV needs a register");
    const size = b.sizeOf(destination);
    const source = b.slot(b.read(b.operand(1)));
    const old = b.readRegister(destination.register);
    const next = size === 8 ? old : b.copy(old);
    b.moveIf(next, b.condition(code), source);
    if (next !== old) b.writeRegister(destination.register, next);
  };

const conditionals: Family = {};
for (const code of CONDITION_CODES) {
  const [set, move, jump] = CONDITION_MNEMONICS[code];
  conditionals[set] = setcc(code);
  conditionals[move] = cmovcc(code);
  conditionals[jump] = jcc(code);
}

/** 1 if x < y, both signed: the unsigned comparison with the sign bits inverted. */
function signedLess(b: Builder, x: Value, y: Value): number {
  return b.compute("ltu", b.compute("xor", x, 1n << 63n), b.compute("xor", y, 1n << 63n));
}

/** BOUND: #BR if a signed index lies outside the two bounds in memory. */
const bound: Lifter = (b) => {
  const index = b.operand(0);
  const bounds = b.operand(1);
  if (index.kind !== "register" || bounds.kind !== "memory") throw new RangeError("BOUND needs register and memory");
  const size = b.sizeOf(index);
  const at = b.address(bounds);
  const value = b.signExtend(b.readRegister(index.register), size);
  const lower = b.signExtend(b.load(at, size), size);
  const upper = b.signExtend(b.load(b.offsetBy(at, BigInt(size)), size), size);
  b.raiseIf(b.compute("or", signedLess(b, value, lower), signedLess(b, upper, value)), BR);
};

export const CONTROL: Family = {
  ...conditionals,
  [Mnemonic.Jmp]: jmp,
  [Mnemonic.Call]: call,
  [Mnemonic.Ret]: ret,
  [Mnemonic.Jcxz]: jumpIfCounterZero,
  [Mnemonic.Jecxz]: jumpIfCounterZero,
  [Mnemonic.Jrcxz]: jumpIfCounterZero,
  [Mnemonic.Loop]: loop(undefined),
  [Mnemonic.Loope]: loop(true),
  [Mnemonic.Loopne]: loop(false),
  [Mnemonic.Bound]: bound,
};
