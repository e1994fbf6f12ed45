import { F80, unpack } from "../float/index.js";
import { FCW_RESET } from "../state/fx-image.js";
import { slot } from "../state/layout.js";
import type { X87 } from "./registers.js";

/** Which of the four layouts FSTENV and FLDENV have (SDM vol. 1, "Figure 8-9" to "Figure 8-12"). */
export interface EnvironmentLayout {
  /** Fields of 32 bits rather than 16. */
  readonly wide: boolean;
  /** Real and virtual-8086 mode: the pointers are linear addresses cut in two. */
  readonly real: boolean;
}

const AT = { fop: slot("fop"), fip: slot("fip"), fdp: slot("fdp") } as const;
const REGISTER_BYTES = 10;
const REGISTERS = 8;
const ALL_MASKED = 0x3f;
const OPCODE_MASK = 0x7ffn;

const environmentBytes = ({ wide }: EnvironmentLayout): number => (wide ? 28 : 14);

/** The tag word with two bits a register: 0 valid, 1 zero, 2 special, 3 empty. */
function tagWord(x: X87): number {
  let word = 0;
  for (let physical = 0; physical < REGISTERS; physical++) {
    const i = (physical - x.top) & 7;
    word |= (x.isEmpty(i) ? 3 : tagOf(x.bits(i))) << (physical * 2);
  }
  return word;
}

function tagOf(bits: bigint): number {
  const value = unpack(F80, bits);
  if (value.kind === "zero") return 1;
  return value.kind === "finite" && !value.denormal ? 0 : 2;
}

/** The seven fields of an environment, in their order. */
function fieldsOf(x: X87, { wide, real }: EnvironmentLayout): bigint[] {
  const s = x.state;
  const fop = BigInt(s.view.getUint16(AT.fop, true));
  const fip = BigInt.asUintN(32, s.get64(AT.fip));
  const fdp = BigInt.asUintN(32, s.get64(AT.fdp));
  const words = [x.fcw, x.fsw, tagWord(x)].map(BigInt);
  // FCS and FDS are 0 (SDM vol. 2, "CPUID", leaf 07H: deprecates FPU CS and FPU DS values).
  if (wide) {
    const ones = 0xffff_0000n;
    const head = words.map((word) => word | ones);
    if (!real) return [...head, fip, fop << 16n, fdp, ones];
    const upper = (pointer: bigint): bigint => (pointer >> 16n) << 12n;
    return [...head, ones | (fip & 0xffffn), upper(fip) | fop, ones | (fdp & 0xffffn), upper(fdp)];
  }
  if (!real) return [...words, fip & 0xffffn, 0n, fdp & 0xffffn, 0n];
  const upper = (pointer: bigint): bigint => ((pointer >> 16n) & 0xfn) << 12n;
  return [...words, fip & 0xffffn, upper(fip) | fop, fdp & 0xffffn, upper(fdp)];
}

function loadFields(x: X87, fields: readonly bigint[], { wide, real }: EnvironmentLayout): void {
  const s = x.state;
  const [fcw = 0n, fsw = 0n, ftw = 0n, fip = 0n, fcs = 0n, fdp = 0n, fds = 0n] = fields;
  let tags = 0;
  for (let n = 0; n < REGISTERS; n++) if (((ftw >> BigInt(n * 2)) & 3n) !== 3n) tags |= 1 << n;
  x.tags = tags;
  x.fsw = Number(fsw & 0xffffn);
  x.setControl(Number(fcw & 0xffffn));
  const size = wide && !real ? 32 : 16;
  const join = (low: bigint, upper: bigint): bigint => {
    if (!real) return BigInt.asUintN(size, low);
    return (low & 0xffffn) | BigInt.asUintN(32, ((upper >> 12n) & (wide ? 0xffffn : 0xfn)) << 16n);
  };
  s.set64(AT.fip, join(fip, fcs));
  s.set64(AT.fdp, join(fdp, fds));
  // The 16-bit protected layout has no opcode.
  const fop = real ? fcs & OPCODE_MASK : wide ? (fcs >> 16n) & OPCODE_MASK : 0n;
  s.view.setUint16(AT.fop, Number(fop), true);
}

function writeEnvironment(x: X87, layout: EnvironmentLayout): void {
  const size = layout.wide ? 4 : 2;
  fieldsOf(x, layout).forEach((field, n) => x.store(size, field, n * size));
}

function readEnvironment(x: X87, layout: EnvironmentLayout): bigint[] {
  const size = layout.wide ? 4 : 2;
  return Array.from({ length: 7 }, (_, n) => x.load(size, n * size));
}

/** FNSTENV masks all exceptions after it. */
export function fnstenv(x: X87, layout: EnvironmentLayout): void {
  x.probe(environmentBytes(layout));
  writeEnvironment(x, layout);
  x.setControl(x.fcw | ALL_MASKED);
}

export function fldenv(x: X87, layout: EnvironmentLayout): void {
  x.wait();
  loadFields(x, readEnvironment(x, layout), layout);
}

/** FNSAVE, which initializes after it. */
export function fnsave(x: X87, layout: EnvironmentLayout): void {
  const start = environmentBytes(layout);
  x.probe(start + REGISTERS * REGISTER_BYTES);
  writeEnvironment(x, layout);
  for (let i = 0; i < REGISTERS; i++) {
    const at = start + i * REGISTER_BYTES;
    const bits = x.bits(i);
    x.store(8, BigInt.asUintN(64, bits), at);
    x.store(2, bits >> 64n, at + 8);
  }
  fninit(x);
}

export function frstor(x: X87, layout: EnvironmentLayout): void {
  x.wait();
  const start = environmentBytes(layout);
  const fields = readEnvironment(x, layout);
  const registers = Array.from({ length: REGISTERS }, (_, i) => {
    const at = start + i * REGISTER_BYTES;
    return x.load(8, at) | (x.load(2, at + 8) << 64n);
  });
  loadFields(x, fields, layout);
  const { tags } = x;
  registers.forEach((bits, i) => x.put(i, bits));
  x.tags = tags;
}

/** FNINIT. The registers keep their bits, but are empty. */
export function fninit(x: X87): void {
  const s = x.state;
  x.fsw = 0;
  x.setControl(FCW_RESET);
  x.tags = 0;
  s.view.setUint16(AT.fop, 0, true);
  s.set64(AT.fip, 0n);
  s.set64(AT.fdp, 0n);
}

export function fldcw(x: X87): void {
  x.wait();
  x.setControl(Number(x.load(2)));
}
