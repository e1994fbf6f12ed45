import type { Code, Mnemonic } from "../decode/iced.js";
import type { DecodedInstruction } from "../decode/instruction.js";
import type { Builder } from "./builder.js";

/** Writes the micro-operations of one instruction. */
export type Lifter = (b: Builder, i: DecodedInstruction) => void;

/** The lifters of a family of instructions, by iced-x86 `Mnemonic`. */
export type Family = Partial<Record<Mnemonic, Lifter>>;

/** The same by `Code`, where a mnemonic has forms that have nothing in common: MOVSD and CMPSD. */
export type CodeFamily = Partial<Record<Code, Lifter>>;
