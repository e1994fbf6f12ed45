import { Mnemonic } from "../../decode/iced.js";
import type { Builder } from "../builder.js";
import type { Family } from "../family.js";
import { mmx } from "../vectors.js";

/** The slot of operand `n`, which is an MMX register in every form of the instruction. */
export function mmxOperand(b: Builder, n: number): number {
  const at = mmx(b.operand(n));
  if (at === undefined) throw new RangeError(`operand ${n} is no MMX register`);
  return at;
}

/**
 * Operand 0, an MMX register that the instruction writes by {@link setMmx}. A pending x87 exception is raised before
 * anything else happens.
 */
export function mmxDestination(b: Builder): number {
  b.emit("mmxcheck");
  return mmxOperand(b, 0);
}

/** Operand `n`, an MMX register or memory, as a slot whose low 64 bits are to be read. */
export function mmxSource(b: Builder, n: number): number {
  const operand = b.operand(n);
  if (operand.kind !== "memory") return mmxOperand(b, n);
  return b.load(b.address(operand), operand.size === 4 ? 4 : 8, false, b.vectorTemp());
}

/** Write 64 bits to an MMX register. */
export function setMmx(b: Builder, d: number, value: number): void {
  b.emit("mmxset", { d, a: value });
}

/** The end of an instruction that reads MMX registers alone: it changes the x87 state all the same. */
export function endMmx(b: Builder): void {
  b.emit("mmxtop");
}

export const MMX: Family = {
  [Mnemonic.Emms]: (b) => {
    b.emit("mmxcheck");
    b.emit("emms");
  },
};
