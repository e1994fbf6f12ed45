import { uopNamed } from "../../uops/table.js";
import { Mnemonic } from "../../decode/iced.js";
import { XMM_SLOTS } from "../../decode/registers.js";
import { bitsOf } from "../../uops/definition.js";
import type { UopName } from "../../uops/names.js";
import type { Builder } from "../builder.js";
import type { Family, Lifter } from "../family.js";
import { readScalar, readVector, xmm, xmmOperand } from "../vectors.js";
import { endMmx, mmxDestination, mmxOperand, mmxSource, setMmx } from "./mmx.js";

/** A position that rows `shufw` and `shufw2` take for zero. */
const ZERO = 0x7f;
/** Where the second vector begins for row `shufw2`, in words. */
const SECOND = 8;

const XMM0 = XMM_SLOTS[0] ?? 0;

/** The constant of those rows: for each word of the result, the position that it comes from. */
function selection(positions: readonly number[]): bigint {
  return positions.reduce((sum, position, n) => sum | (BigInt(position) << BigInt(n * 8)), 0n);
}

/** The same by elements of `count` words. */
function elements(positions: readonly number[], count: number): number[] {
  return positions.flatMap((position) =>
    Array.from({ length: count }, (_, n) => (position === ZERO ? ZERO : position * count + n)),
  );
}

function control(b: Builder, n: number): number {
  const operand = b.operand(n);
  if (operand.kind !== "immediate") throw new RangeError(`operand ${n} is no constant`);
  return Number(operand.value & 0xffn);
}

/** Field `n` of two bits of a control byte. */
const field = (byte: number, n: number): number => (byte >> (n * 2)) & 3;
const fields = (byte: number): number[] => [0, 1, 2, 3].map((n) => field(byte, n));
const bits = (byte: number, count: number): boolean[] =>
  Array.from({ length: count }, (_, n) => ((byte >> n) & 1) === 1);
/** Four words that stay where they are. */
const IDENTITY = [0, 1, 2, 3];

/** d = words of the source. */
const fromOne =
  (positions: (byte: number) => number[]): Lifter =>
  (b, i) => {
    const byte = i.operands.length > 2 ? control(b, 2) : 0;
    b.emit("shufw", { d: xmmOperand(b, 0), a: readVector(b, 1), imm: selection(positions(byte)) });
  };

/** d = words of d and the source. */
const fromTwo =
  (positions: (byte: number) => number[]): Lifter =>
  (b) => {
    const d = xmmOperand(b, 0);
    b.emit("shufw2", { d, a: d, b: readVector(b, 1), imm: selection(positions(control(b, 2))) });
  };

const pshufw: Lifter = (b) => {
  const d = mmxDestination(b);
  const result = b.vectorTemp();
  b.emit("shufw", { d: result, a: mmxSource(b, 1), imm: selection(fields(control(b, 2))) });
  setMmx(b, d, result);
};

/** Elements of the source where the control byte has a bit set, by their width in words. */
const blend = (width: 1 | 2 | 4): Lifter =>
  fromTwo((byte) =>
    elements(
      bits(byte, SECOND / width).map((second, n) => (second ? SECOND / width + n : n)),
      width,
    ),
  );

/** PBLENDVB, BLENDVPS, BLENDVPD: where the sign in XMM0, an implied operand, is set. */
const blendBySign =
  (row: UopName): Lifter =>
  (b) => {
    const source = readVector(b, 1);
    b.emit(row, { d: xmmOperand(b, 0), a: source, b: XMM0 });
  };

const insertps: Lifter = (b) => {
  const d = xmmOperand(b, 0);
  const from = b.operand(1);
  const byte = control(b, 2);
  const memory = from.kind === "memory";
  const second = memory ? b.load(b.address(from), 4, false, b.vectorTemp()) : xmmOperand(b, 1);
  const chosen = 4 + (memory ? 0 : field(byte, 3));
  const positions = [0, 1, 2, 3].map((n) => ((byte >> n) & 1 ? ZERO : n === field(byte, 2) ? chosen : n));
  b.emit("shufw2", { d, a: d, b: second, imm: selection(elements(positions, 2)) });
};

type ElementBytes = 1 | 2 | 4 | 8;

/** Bytes to the element that a control byte names, in a register of so many bytes. */
const elementOffset = (b: Builder, n: number, size: ElementBytes, register: 8 | 16): number =>
  (control(b, n) % (register / size)) * size;

/** PEXTRB, PEXTRW, PEXTRD, PEXTRQ, EXTRACTPS: one element, zero-extended into a general register, or to memory. */
const extract =
  (size: ElementBytes): Lifter =>
  (b) => {
    const vector = xmm(b.operand(1));
    if (vector === undefined) b.emit("mmxcheck");
    const from = vector ?? mmxOperand(b, 1);
    const { result, commit } = b.destination(b.operand(0));
    const a = from + elementOffset(b, 2, size, vector === undefined ? 8 : 16);
    b.emit(size === 8 ? "mov" : `zx${bitsOf(size)}`, { d: result, a });
    commit();
    if (vector === undefined) endMmx(b);
  };

/** PINSRB, PINSRW, PINSRD, PINSRQ: one element from a general register or memory; the others stay. */
const insert =
  (size: ElementBytes): Lifter =>
  (b) => {
    const vector = xmm(b.operand(0));
    const row = size === 8 ? "mov" : uopNamed(`ins${bitsOf(size)}`);
    if (vector !== undefined) {
      const a = b.slot(b.read(b.operand(1)));
      b.emit(row, { d: vector + elementOffset(b, 2, size, 16), a });
      return;
    }
    const d = mmxDestination(b);
    const a = b.slot(b.read(b.operand(1)));
    const changed = b.copy(d);
    b.emit(row, { d: changed + elementOffset(b, 2, size, 8), a });
    setMmx(b, d, changed);
  };

/** PMOVSX and PMOVZX: the source is as much of the operand as fills the destination. */
const widen =
  (row: UopName): Lifter =>
  (b) => {
    const from = b.operand(1);
    const size = from.kind === "memory" ? from.size : 8;
    b.emit(row, { d: xmmOperand(b, 0), a: readScalar(b, 1, size === 2 || size === 4 ? size : 8) });
  };

const shufpd = fromTwo((byte) => elements([byte & 1, 2 + ((byte >> 1) & 1)], 4));
const shufps = fromTwo((byte) => elements([field(byte, 0), field(byte, 1), 4 + field(byte, 2), 4 + field(byte, 3)], 2));

/** Elements chosen by a constant, moved to and from general registers, widened. */
export const SIMD_SHUFFLES: Family = {
  [Mnemonic.Pshufd]: fromOne((byte) => elements(fields(byte), 2)),
  [Mnemonic.Pshuflw]: fromOne((byte) => [...fields(byte), ...IDENTITY.map((n) => n + 4)]),
  [Mnemonic.Pshufhw]: fromOne((byte) => [...IDENTITY, ...fields(byte).map((n) => n + 4)]),
  [Mnemonic.Movshdup]: fromOne(() => elements([1, 1, 3, 3], 2)),
  [Mnemonic.Movsldup]: fromOne(() => elements([0, 0, 2, 2], 2)),
  [Mnemonic.Pshufw]: pshufw,
  [Mnemonic.Shufps]: shufps,
  [Mnemonic.Shufpd]: shufpd,
  [Mnemonic.Pblendw]: blend(1),
  [Mnemonic.Blendps]: blend(2),
  [Mnemonic.Blendpd]: blend(4),
  [Mnemonic.Pblendvb]: blendBySign("pblendvb"),
  [Mnemonic.Blendvps]: blendBySign("blendvps"),
  [Mnemonic.Blendvpd]: blendBySign("blendvpd"),
  [Mnemonic.Insertps]: insertps,
  [Mnemonic.Extractps]: extract(4),
  [Mnemonic.Pextrb]: extract(1),
  [Mnemonic.Pextrw]: extract(2),
  [Mnemonic.Pextrd]: extract(4),
  [Mnemonic.Pextrq]: extract(8),
  [Mnemonic.Pinsrb]: insert(1),
  [Mnemonic.Pinsrw]: insert(2),
  [Mnemonic.Pinsrd]: insert(4),
  [Mnemonic.Pinsrq]: insert(8),
  [Mnemonic.Pmovsxbw]: widen("pmovsxbw"),
  [Mnemonic.Pmovsxbd]: widen("pmovsxbd"),
  [Mnemonic.Pmovsxbq]: widen("pmovsxbq"),
  [Mnemonic.Pmovsxwd]: widen("pmovsxwd"),
  [Mnemonic.Pmovsxwq]: widen("pmovsxwq"),
  [Mnemonic.Pmovsxdq]: widen("pmovsxdq"),
  [Mnemonic.Pmovzxbw]: widen("pmovzxbw"),
  [Mnemonic.Pmovzxbd]: widen("pmovzxbd"),
  [Mnemonic.Pmovzxbq]: widen("pmovzxbq"),
  [Mnemonic.Pmovzxwd]: widen("pmovzxwd"),
  [Mnemonic.Pmovzxwq]: widen("pmovzxwq"),
  [Mnemonic.Pmovzxdq]: widen("pmovzxdq"),
};
