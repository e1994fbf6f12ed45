import { Mnemonic } from "../decode/iced.js";
import { slot } from "../state/layout.js";
import { RFLAGS } from "../tables/registers.js";
import type { Builder } from "./builder.js";
import type { Family, Lifter } from "./family.js";

/** Condition code B: CF. */
const CARRY = 2;
const FLAGS_REST = slot("flagsRest");
/** SF, ZF, AF, PF, CF: what LAHF and SAHF move. */
const LOW_FLAGS = 0xd5n;

/** RFLAGS as PUSHF stores it, without VM and RF. */
export function flagsImage(b: Builder): number {
  return b.compute("and", b.rflags(), BigInt.asUintN(64, ~(RFLAGS.VM | RFLAGS.RF)));
}

const pushf: Lifter = (b, i) => {
  b.push(i.operandSize === 0 ? ((i.bitness >> 3) as 2 | 4 | 8) : i.operandSize, flagsImage(b));
};

const lahf: Lifter = (b) => {
  const flags = b.rflags();
  b.setHighByte(0, b.compute("or", b.compute("and", flags, LOW_FLAGS), 2n));
};

const sahf: Lifter = (b) => {
  const flags = b.rflags();
  const image = b.compute("and", b.unary("zx8h", b.register(0)), LOW_FLAGS);
  b.emit("setflags", { a: b.compute("or", b.compute("and", flags, RFLAGS.OF), image) });
};

const setCarry =
  (value: bigint): Lifter =>
  (b) =>
    b.emit("setcf", { a: b.slot(value) });

const cmc: Lifter = (b) => {
  const carry = b.condition(CARRY);
  b.emit("setcf", { a: b.compute("xor", carry, 1n) });
};

const cld: Lifter = (b) => b.emit("andi64nf", { d: FLAGS_REST, a: FLAGS_REST, imm: ~RFLAGS.DF });
const std: Lifter = (b) => b.emit("ori64nf", { d: FLAGS_REST, a: FLAGS_REST, imm: RFLAGS.DF });

/** SALC: AL is 0xFF if CF is set, otherwise 0. */
const salc: Lifter = (b) => {
  const carry = b.condition(CARRY);
  b.setRegister(0, 1, b.compute("sub", 0n, carry));
};

export const FLAGS: Family = {
  [Mnemonic.Pushf]: pushf,
  [Mnemonic.Pushfd]: pushf,
  [Mnemonic.Pushfq]: pushf,
  [Mnemonic.Lahf]: lahf,
  [Mnemonic.Sahf]: sahf,
  [Mnemonic.Clc]: setCarry(0n),
  [Mnemonic.Stc]: setCarry(1n),
  [Mnemonic.Cmc]: cmc,
  [Mnemonic.Cld]: cld,
  [Mnemonic.Std]: std,
  [Mnemonic.Salc]: salc,
};
