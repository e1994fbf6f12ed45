import { Mnemonic } from "../../decode/iced.js";
import type { UopName } from "../../uops/names.js";
import type { Family, Lifter } from "../family.js";
import { readScalar, readVector, xmmOperand } from "../vectors.js";
import { endMmx, mmxDestination, mmxSource, setMmx } from "./mmx.js";

// A floating-point exception finds the x87 state changed already: processors change it when they have their operands.

/**
 * CVTPI2PS and CVTPI2PD. With an operand in memory they leave the x87 state alone: the manual says so of the second, and the
 * processor that the vectors were recorded on treats both alike (SDM vol. 2, "CVTPI2PD").
 */
const fromIntegers =
  (row: UopName): Lifter =>
  (b) => {
    const fromMemory = b.operand(1).kind === "memory";
    if (!fromMemory) b.emit("mmxcheck");
    const source = mmxSource(b, 1);
    if (!fromMemory) endMmx(b);
    b.emit(row, { d: xmmOperand(b, 0), b: source });
  };

const fromSingles =
  (row: UopName): Lifter =>
  (b) => {
    const d = mmxDestination(b);
    const source = readScalar(b, 1, 8);
    const result = b.temp();
    endMmx(b);
    b.emit(row, { d: result, b: source });
    setMmx(b, d, result);
  };

const fromDoubles =
  (row: UopName): Lifter =>
  (b) => {
    const d = mmxDestination(b);
    const source = readVector(b, 1);
    const result = b.vectorTemp();
    endMmx(b);
    b.emit(row, { d: result, b: source });
    setMmx(b, d, result);
  };

/** Conversions between MMX registers and floating point. */
export const SIMD_FLOAT_MMX: Family = {
  [Mnemonic.Cvtpi2ps]: fromIntegers("cvtpips"),
  [Mnemonic.Cvtpi2pd]: fromIntegers("cvtdqpd"),
  [Mnemonic.Cvtps2pi]: fromSingles("cvtpspi"),
  [Mnemonic.Cvttps2pi]: fromSingles("cvttpspi"),
  [Mnemonic.Cvtpd2pi]: fromDoubles("cvtpddq"),
  [Mnemonic.Cvttpd2pi]: fromDoubles("cvttpddq"),
};
