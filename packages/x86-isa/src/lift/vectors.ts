import type { Operand } from "../decode/instruction.js";
import { MMX_SLOTS, mmxRegister, XMM_SLOTS, xmmRegister } from "../decode/registers.js";
import type { Address, Builder } from "./builder.js";

/** Bytes from the low to the high half of a vector slot. Each half is a slot of 64 bits of its own. */
export const HIGH = 8;

/** The slot of an XMM register operand; undefined for any other operand. */
export function xmm(operand: Operand): number | undefined {
  return operand.kind === "register" ? XMM_SLOTS[xmmRegister(operand.register)] : undefined;
}

/** The slot of an MMX register operand; undefined for any other operand. */
export function mmx(operand: Operand): number | undefined {
  return operand.kind === "register" ? MMX_SLOTS[mmxRegister(operand.register)] : undefined;
}

/** The slot of operand `n`, which is an XMM register in every form of the instruction. */
export function xmmOperand(b: Builder, n: number): number {
  const at = xmm(b.operand(n));
  if (at === undefined) throw new RangeError(`operand ${n} is no XMM register`);
  return at;
}

/** Memory operands of 16 bytes must be aligned, but for those of a few instructions. */
export type Alignment = "aligned" | "unaligned";

const ROWS = { aligned: "128a", unaligned: "128" } as const;

/** Load 16 bytes into a vector slot. */
export function loadVector(b: Builder, address: Address, alignment: Alignment, d = b.vectorTemp()): number {
  b.emit(`ld${ROWS[alignment]}`, { d, ...b.access(address) });
  return d;
}

/** Store the 16 bytes of a vector slot. */
export function storeVector(b: Builder, address: Address, alignment: Alignment, value: number): void {
  b.emit(`st${ROWS[alignment]}`, { b: value, ...b.access(address) });
}

/** Operand `n`, an XMM register or 16 bytes of memory, as a vector slot that is only to be read. */
export function readVector(b: Builder, n: number, alignment: Alignment = "aligned"): number {
  const operand = b.operand(n);
  if (operand.kind === "memory") return loadVector(b, b.address(operand), alignment);
  return xmmOperand(b, n);
}

/**
 * Operand `n`, the low part of an XMM register or as many bytes of memory, as a slot of 64 bits that is only to be read:
 * bits above `size` are anything.
 */
export function readScalar(b: Builder, n: number, size: 2 | 4 | 8): number {
  const operand = b.operand(n);
  if (operand.kind === "memory") return b.load(b.address(operand), size);
  return xmmOperand(b, n);
}

/** Clear bits 127:64 of a vector slot. */
export function clearHigh(b: Builder, d: number): void {
  b.emit("movi", { d: d + HIGH, imm: 0n });
}
