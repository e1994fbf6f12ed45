import { UOP_BYTES, type Uop } from "./definition.js";

/** Write a micro-operation in its 16-byte form. */
export function encodeUop(uop: Uop, view: DataView, at: number): void {
  view.setUint16(at, uop.op, true);
  view.setUint16(at + 2, uop.d, true);
  view.setUint16(at + 4, uop.a, true);
  view.setUint16(at + 6, uop.b, true);
  view.setBigInt64(at + 8, uop.imm, true);
}

/** Read a micro-operation from its 16-byte form. */
export function decodeUop(view: DataView, at: number): Uop {
  return {
    op: view.getUint16(at, true),
    d: view.getUint16(at + 2, true),
    a: view.getUint16(at + 4, true),
    b: view.getUint16(at + 6, true),
    imm: view.getBigInt64(at + 8, true),
  };
}

/** Write a run of micro-operations; returns the offset past the last. */
export function encodeUops(uops: readonly Uop[], view: DataView, at: number): number {
  let offset = at;
  for (const uop of uops) {
    encodeUop(uop, view, offset);
    offset += UOP_BYTES;
  }
  return offset;
}
