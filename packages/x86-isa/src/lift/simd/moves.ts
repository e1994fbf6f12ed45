import { Code, Mnemonic } from "../../decode/iced.js";
import type { Builder } from "../builder.js";
import type { CodeFamily, Family, Lifter } from "../family.js";
import { clearHigh, HIGH, loadVector, mmx, storeVector, xmm, xmmOperand, type Alignment } from "../vectors.js";
import { endMmx, mmxOperand, setMmx } from "./mmx.js";

/** 128 bits from or to memory, or between registers. */
const whole =
  (alignment: Alignment): Lifter =>
  (b) => {
    const [to, from] = [b.operand(0), b.operand(1)];
    if (to.kind === "memory") storeVector(b, b.address(to, true), alignment, xmmOperand(b, 1));
    else if (from.kind === "memory") loadVector(b, b.address(from), alignment, xmmOperand(b, 0));
    else b.emit("vmov", { d: xmmOperand(b, 0), a: xmmOperand(b, 1) });
  };

/** d = the low `size` bytes of a, zero-extended to 64 bits. */
function extend(b: Builder, size: 4 | 8, d: number, a: number): void {
  b.emit(size === 4 ? "zx32" : "mov", { d, a });
}

/** MOVD and MOVQ: the low part of a register of any kind, zero-extended to all of the destination. */
const low =
  (size: 4 | 8): Lifter =>
  (b) => {
    const [to, from] = [b.operand(0), b.operand(1)];
    const usesMmx = mmx(to) !== undefined || mmx(from) !== undefined;
    if (usesMmx) b.emit("mmxcheck");
    const source = (d: number): number => {
      if (from.kind === "memory") return b.load(b.address(from), size, false, d);
      const vector = xmm(from) ?? mmx(from);
      if (vector !== undefined && size === 8) return vector;
      extend(b, size, d, vector ?? b.slot(b.read(from)));
      return d;
    };
    const intoXmm = xmm(to);
    const intoMmx = mmx(to);
    if (intoXmm !== undefined) {
      b.move(intoXmm, source(intoXmm));
      clearHigh(b, intoXmm);
    } else if (intoMmx !== undefined) {
      setMmx(b, intoMmx, source(b.temp()));
    } else if (to.kind === "memory") {
      b.store(b.address(to, true), size, xmm(from) ?? mmxOperand(b, 1));
    } else {
      const { result, commit } = b.destination(to);
      extend(b, size, result, xmm(from) ?? mmxOperand(b, 1));
      commit();
    }
    if (usesMmx && intoMmx === undefined) endMmx(b);
  };

/** MOVSS and MOVSD: between registers the rest of the destination stays, from memory it becomes zero. */
const scalar =
  (size: 4 | 8): Lifter =>
  (b) => {
    const [to, from] = [b.operand(0), b.operand(1)];
    if (to.kind === "memory") {
      b.store(b.address(to, true), size, xmmOperand(b, 1));
      return;
    }
    const d = xmmOperand(b, 0);
    if (from.kind === "memory") {
      b.load(b.address(from), size, false, d);
      clearHigh(b, d);
    } else {
      b.emit(size === 4 ? "ins32" : "mov", { d, a: xmmOperand(b, 1) });
    }
  };

/** MOVLPS and MOVHPS: 64 bits between memory and one half of a register. */
const half =
  (offset: 0 | typeof HIGH): Lifter =>
  (b) => {
    const [to, from] = [b.operand(0), b.operand(1)];
    if (to.kind === "memory") b.store(b.address(to, true), 8, xmmOperand(b, 1) + offset);
    else if (from.kind === "memory") b.load(b.address(from), 8, false, xmmOperand(b, 0) + offset);
    else throw new RangeError("a half moves between a register and memory");
  };

const movhlps: Lifter = (b) => b.emit("mov", { d: xmmOperand(b, 0), a: xmmOperand(b, 1) + HIGH });
const movlhps: Lifter = (b) => b.emit("mov", { d: xmmOperand(b, 0) + HIGH, a: xmmOperand(b, 1) });

const movddup: Lifter = (b) => {
  const from = b.operand(1);
  const d = xmmOperand(b, 0);
  if (from.kind === "memory") b.load(b.address(from), 8, false, d);
  else b.move(d, xmmOperand(b, 1));
  b.emit("mov", { d: d + HIGH, a: d });
};

const movq2dq: Lifter = (b) => {
  const d = xmmOperand(b, 0);
  b.emit("mmxcheck");
  b.emit("mov", { d, a: mmxOperand(b, 1) });
  clearHigh(b, d);
  endMmx(b);
};

const movdq2q: Lifter = (b) => {
  b.emit("mmxcheck");
  setMmx(b, mmxOperand(b, 0), xmmOperand(b, 1));
};

/** Bytes whose mask is positive keep their value in memory: it is read, and all of it written. */
const maskedStore: Lifter = (b) => {
  const [to] = b.instruction.operands;
  if (to?.kind !== "memory") throw new RangeError("a masked store needs its memory operand");
  const isMmx = mmx(b.operand(1)) !== undefined;
  if (isMmx) b.emit("mmxcheck");
  const at = b.address(to, true);
  const value = b.vectorTemp();
  if (isMmx) {
    b.load(at, 8, true, value);
    b.emit("pblendvb", { d: value, a: mmxOperand(b, 1), b: mmxOperand(b, 2) });
    b.store(at, 8, value);
    endMmx(b);
  } else {
    b.emit("ld128w", { d: value, ...b.access(at) });
    b.emit("pblendvb", { d: value, a: xmmOperand(b, 1), b: xmmOperand(b, 2) });
    storeVector(b, at, "unaligned", value);
  }
};

const aligned = whole("aligned");
const unaligned = whole("unaligned");

/** Moves of all or part of an XMM or MMX register. */
export const SIMD_MOVES: Family = {
  [Mnemonic.Movaps]: aligned,
  [Mnemonic.Movapd]: aligned,
  [Mnemonic.Movdqa]: aligned,
  [Mnemonic.Movntps]: aligned,
  [Mnemonic.Movntpd]: aligned,
  [Mnemonic.Movntdq]: aligned,
  [Mnemonic.Movntdqa]: aligned,
  [Mnemonic.Movups]: unaligned,
  [Mnemonic.Movupd]: unaligned,
  [Mnemonic.Movdqu]: unaligned,
  [Mnemonic.Lddqu]: unaligned,
  [Mnemonic.Movd]: low(4),
  [Mnemonic.Movq]: low(8),
  [Mnemonic.Movntq]: low(8),
  [Mnemonic.Movss]: scalar(4),
  [Mnemonic.Movlps]: half(0),
  [Mnemonic.Movlpd]: half(0),
  [Mnemonic.Movhps]: half(HIGH),
  [Mnemonic.Movhpd]: half(HIGH),
  [Mnemonic.Movhlps]: movhlps,
  [Mnemonic.Movlhps]: movlhps,
  [Mnemonic.Movddup]: movddup,
  [Mnemonic.Movq2dq]: movq2dq,
  [Mnemonic.Movdq2q]: movdq2q,
  [Mnemonic.Maskmovdqu]: maskedStore,
  [Mnemonic.Maskmovq]: maskedStore,
};

/** The string instruction has the same name. */
export const SIMD_MOVE_CODES: CodeFamily = {
  [Code.Movsd_xmm_xmmm64]: scalar(8),
  [Code.Movsd_xmmm64_xmm]: scalar(8),
};
