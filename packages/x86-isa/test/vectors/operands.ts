import { Code, Instruction, OpCodeOperandKind as Kind, OpKind, Register } from "../../src/decode/iced.js";
import { generalRegister } from "../../src/index.js";
import type { Form } from "./forms.js";
import { CODE, CODE_OFFSET, WINDOW } from "./layout.js";
import { interestingValue, type Rng } from "./rng.js";

const RSP = 4;

/** A case in the making. */
export interface Draft {
  readonly rng: Rng;
  readonly form: Form;
  readonly instruction: Instruction;
  readonly mnemonic: string;
  readonly gprs: bigint[];
  readonly memory: Uint8Array;
  readonly addressBytes: 2 | 4 | 8;
  /** Bytes that the operand in memory is aligned to; most cases have it so, as the instruction may ask for it. */
  readonly alignment: number;
  /** Linear address of the operand in memory, once it is chosen. */
  address?: number;
  /** General registers that hold addresses for later instructions; in 64-bit code they are an operand now and then. */
  readonly pinned?: ReadonlySet<number>;
  /** Chooses the address expression of operand `n`, where registers cannot be set for it. */
  readonly setMemory?: (d: Draft, n: number) => void;
}

export const registerCount = (form: Form): number => (form.bitness === 64 ? 16 : 8);

/** A register operand of some width; in 64-bit code any of sixteen, and the byte registers of both kinds. */
export function pickRegister(d: Draft, size: 1 | 2 | 4 | 8): Register {
  for (;;) {
    const register = anyRegister(d, size);
    if (d.pinned?.has(generalRegister(register)?.index ?? 0) !== true) return register;
    if (d.form.bitness === 64 && d.rng.chance(1, 200)) return register;
  }
}

function anyRegister(d: Draft, size: 1 | 2 | 4 | 8): Register {
  const { rng, form } = d;
  const low = rng.chance(1, 2);
  const n = rng.below(low ? 4 : registerCount(form));
  switch (size) {
    case 1:
      if (form.bitness === 64) return rng.chance(1, 4) ? 1 + rng.below(8) : n < 4 ? 1 + n : 5 + n;
      return 1 + (n & 7);
    case 2:
      return 21 + n;
    case 4:
      return 37 + n;
    case 8:
      return 53 + n;
  }
}

const FIXED_REGISTERS: ReadonlyMap<number, Register> = new Map([
  [Kind.al, Register.AL],
  [Kind.ax, Register.AX],
  [Kind.eax, Register.EAX],
  [Kind.rax, Register.RAX],
  [Kind.cl, Register.CL],
  [Kind.dx, Register.DX],
  [Kind.es, Register.ES],
  [Kind.cs, Register.CS],
  [Kind.ss, Register.SS],
  [Kind.ds, Register.DS],
  [Kind.fs, Register.FS],
  [Kind.gs, Register.GS],
  [Kind.st0, Register.ST0],
]);

const REGISTER_SIZES: ReadonlyMap<number, 1 | 2 | 4 | 8> = new Map([
  [Kind.r8_reg, 1],
  [Kind.r8_opcode, 1],
  [Kind.r8_or_mem, 1],
  [Kind.r16_reg, 2],
  [Kind.r16_opcode, 2],
  [Kind.r16_or_mem, 2],
  [Kind.r16_rm, 2],
  [Kind.r32_reg, 4],
  [Kind.r32_opcode, 4],
  [Kind.r32_or_mem, 4],
  [Kind.r32_rm, 4],
  [Kind.r32_vvvv, 4],
  [Kind.r64_reg, 8],
  [Kind.r64_opcode, 8],
  [Kind.r64_or_mem, 8],
  [Kind.r64_rm, 8],
  [Kind.r64_vvvv, 8],
]);

/** The first register of the file that an operand names. */
const VECTOR_REGISTERS: ReadonlyMap<number, Register> = new Map([
  [Kind.xmm_reg, Register.XMM0],
  [Kind.xmm_rm, Register.XMM0],
  [Kind.xmm_or_mem, Register.XMM0],
  [Kind.mm_reg, Register.MM0],
  [Kind.mm_rm, Register.MM0],
  [Kind.mm_or_mem, Register.MM0],
  [Kind.sti_opcode, Register.ST0],
]);

const MEMORY_KINDS = new Set<number>([
  Kind.r8_or_mem,
  Kind.r16_or_mem,
  Kind.r32_or_mem,
  Kind.r64_or_mem,
  Kind.mm_or_mem,
  Kind.xmm_or_mem,
]);

const IMMEDIATES: ReadonlyMap<number, { kind: OpKind; bits: number }> = new Map([
  [Kind.imm8, { kind: OpKind.Immediate8, bits: 8 }],
  [Kind.imm16, { kind: OpKind.Immediate16, bits: 16 }],
  [Kind.imm32, { kind: OpKind.Immediate32, bits: 32 }],
  [Kind.imm64, { kind: OpKind.Immediate64, bits: 64 }],
  [Kind.imm8sex16, { kind: OpKind.Immediate8to16, bits: 8 }],
  [Kind.imm8sex32, { kind: OpKind.Immediate8to32, bits: 8 }],
  [Kind.imm8sex64, { kind: OpKind.Immediate8to64, bits: 8 }],
  [Kind.imm32sex64, { kind: OpKind.Immediate32to64, bits: 32 }],
]);

const BRANCHES: ReadonlyMap<number, { kind: OpKind; near: boolean }> = new Map([
  [Kind.br16_1, { kind: OpKind.NearBranch16, near: false }],
  [Kind.br32_1, { kind: OpKind.NearBranch32, near: false }],
  [Kind.br64_1, { kind: OpKind.NearBranch64, near: false }],
  [Kind.br16_2, { kind: OpKind.NearBranch16, near: true }],
  [Kind.br32_4, { kind: OpKind.NearBranch32, near: true }],
  [Kind.br64_4, { kind: OpKind.NearBranch64, near: true }],
]);

/** Counts above 16 leave the result of these undefined. */
export const NARROW_DOUBLE_SHIFT = /^Sh[lr]d_rm16/;

function setImmediate(d: Draft, n: number, kind: OpKind, bits: number): void {
  const { rng, instruction: i } = d;
  let value = BigInt.asUintN(bits, interestingValue(rng));
  if (d.mnemonic === "Enter" && n === 1) value = rng.chance(3, 4) ? BigInt(rng.below(4)) : BigInt(rng.below(34));
  if (NARROW_DOUBLE_SHIFT.test(Code[d.form.code] ?? "")) value = (value & ~31n) | BigInt(rng.below(17));
  i.setOpKind(n, kind);
  switch (kind) {
    case OpKind.Immediate8:
      if (d.mnemonic === "Enter") {
        i.setOpKind(n, OpKind.Immediate8_2nd);
        i.immediate8_2nd = Number(value);
      } else {
        i.immediate8 = Number(value);
      }
      return;
    case OpKind.Immediate16:
      i.immediate16 = Number(value);
      return;
    case OpKind.Immediate32:
      i.immediate32 = Number(value);
      return;
    case OpKind.Immediate64:
      i.immediate64 = value;
      return;
    case OpKind.Immediate8to16:
      i.immediate8to16 = Number(BigInt.asIntN(8, value));
      return;
    case OpKind.Immediate8to32:
      i.immediate8to32 = Number(BigInt.asIntN(8, value));
      return;
    case OpKind.Immediate8to64:
      i.immediate8to64 = BigInt.asIntN(8, value);
      return;
    default:
      i.immediate32to64 = BigInt.asIntN(32, value);
  }
}

/** Bytes around the accessed address that the case may touch below it; keeps operands inside the window. */
export function target(d: Draft): bigint {
  // The areas of FXSAVE and XSAVE are larger than what all cases fill.
  if (d.alignment === 64 || d.mnemonic.startsWith("Fx")) {
    d.address = WINDOW + 64 * d.rng.below(3) + (d.rng.chance(1, 8) ? d.rng.below(64) : 0);
    return BigInt(d.address);
  }
  let at = WINDOW + 64 + d.rng.below(64) * (d.rng.chance(1, 3) ? 1 : 4);
  if (d.alignment > 1 && d.rng.chance(7, 8)) at &= ~(d.alignment - 1);
  d.address = at;
  return BigInt(at);
}

const BASES_16: readonly (readonly [Register, Register])[] = [
  [Register.BX, Register.SI],
  [Register.BX, Register.DI],
  [Register.BP, Register.SI],
  [Register.BP, Register.DI],
  [Register.SI, Register.None],
  [Register.DI, Register.None],
  [Register.BP, Register.None],
  [Register.BX, Register.None],
  [Register.None, Register.None],
];

export function setPart(d: Draft, register: Register, value: bigint): void {
  const part = generalRegister(register);
  if (part === undefined) return;
  const bits = part.size * 8;
  const old = d.gprs[part.index] ?? 0n;
  const low = BigInt.asUintN(bits, value);
  d.gprs[part.index] = (old & ~((1n << BigInt(bits)) - 1n)) | low;
}

export function getPart(d: Draft, register: Register): bigint {
  const part = generalRegister(register);
  return part === undefined ? 0n : BigInt.asUintN(part.size * 8, d.gprs[part.index] ?? 0n);
}

/** Choose an address expression of the draft's address size, and set its registers so that it points into the window. */
function setMemory(d: Draft, n: number): void {
  const { rng, instruction: i } = d;
  const size = d.addressBytes;
  const at = target(d);
  i.setOpKind(n, OpKind.Memory);
  i.memoryIndexScale = 1;
  if (rng.chance(1, 8) && d.form.bitness !== 64) i.segmentPrefix = rng.pick([Register.ES, Register.SS, Register.DS]);
  if (size === 2) {
    const [base, index] = rng.pick(BASES_16);
    i.memoryBase = base;
    i.memoryIndex = index;
    if (base === Register.None) {
      i.memoryDisplSize = 2;
      i.memoryDisplacement = at;
      return;
    }
    const displSize = rng.pick(base === Register.BP && index === Register.None ? [1, 2] : [0, 1, 2]);
    const displ = displSize === 0 ? 0n : BigInt.asIntN(displSize * 8, interestingValue(rng));
    i.memoryDisplSize = displSize;
    i.memoryDisplacement = BigInt.asUintN(16, displ);
    setPart(d, base, at - displ - (index === Register.None ? 0n : getPart(d, index)));
    return;
  }
  const first = size === 8 ? Register.RAX : Register.EAX;
  const bits = size * 8;
  const style = rng.below(8);
  if (style === 0 && d.form.bitness === 64) {
    i.memoryBase = size === 8 ? Register.RIP : Register.EIP;
    i.memoryDisplSize = size;
    i.memoryDisplacement = at;
    return;
  }
  if (style === 1) {
    i.memoryDisplSize = size === 8 ? 4 : size;
    i.memoryDisplacement = at;
    return;
  }
  const base = (first + rng.below(registerCount(d.form))) as Register;
  let displSize = rng.pick([0, 1, 1, 4]);
  const part = generalRegister(base);
  if (displSize === 0 && part !== undefined && (part.index & 7) === 5) displSize = 1;
  const displ = displSize === 0 ? 0n : BigInt.asIntN(displSize === 1 ? 8 : 32, interestingValue(rng));
  i.memoryBase = base;
  // The encoder counts a displacement of 4 bytes in 64-bit addressing as 8.
  i.memoryDisplSize = displSize === 4 ? size : displSize;
  i.memoryDisplacement = BigInt.asUintN(bits, displ);
  let scaled = 0n;
  if (style > 3) {
    let index: number = first + rng.below(registerCount(d.form));
    if (index === first + RSP) index = first + 1;
    i.memoryIndex = index;
    i.memoryIndexScale = 1 << rng.below(4);
    if (index === base) {
      // One register for both: solve (1 + scale) * r = at - displ when possible, else drop the index.
      i.memoryIndex = Register.None;
      i.memoryIndexScale = 1;
    } else {
      scaled = getPart(d, index) * BigInt(i.memoryIndexScale);
    }
  }
  setPart(d, base, BigInt.asUintN(bits, at - displ - scaled));
}

export function setOperand(d: Draft, n: number, kind: number): void {
  const { rng, instruction: i, form } = d;
  const fixed = FIXED_REGISTERS.get(kind);
  if (fixed !== undefined) {
    i.setOpKind(n, OpKind.Register);
    i.setOpRegister(n, fixed);
    return;
  }
  const first = VECTOR_REGISTERS.get(kind);
  if (first !== undefined && !(MEMORY_KINDS.has(kind) && form.variant === "memory")) {
    i.setOpKind(n, OpKind.Register);
    const count = first === Register.XMM0 ? registerCount(form) : 8;
    // A few registers only, so that source and destination are the same now and then.
    i.setOpRegister(n, first + rng.below(rng.chance(1, 2) ? 4 : count));
    return;
  }
  const size = REGISTER_SIZES.get(kind);
  if (size !== undefined && !(MEMORY_KINDS.has(kind) && form.variant === "memory")) {
    i.setOpKind(n, OpKind.Register);
    i.setOpRegister(n, pickRegister(d, size));
    return;
  }
  const immediate = IMMEDIATES.get(kind);
  if (immediate !== undefined) {
    setImmediate(d, n, immediate.kind, immediate.bits);
    return;
  }
  const branch = BRANCHES.get(kind);
  if (branch !== undefined) {
    i.setOpKind(n, branch.kind);
    // Never to itself: the recorder takes a trap at the same address for an unfinished repetition.
    const distance = (branch.near ? rng.below(0xf000) - 0x40 : rng.below(0xf0) - 0x70) || 0x20;
    const origin = form.bitness === 16 ? CODE_OFFSET : CODE + CODE_OFFSET;
    const to = BigInt(origin + distance);
    if (branch.kind === OpKind.NearBranch64) i.nearBranch64 = to;
    else if (branch.kind === OpKind.NearBranch32) i.nearBranch32 = Number(to);
    else i.nearBranch16 = Number(to & 0xffffn);
    return;
  }
  switch (kind) {
    case Kind.imm8_const_1:
      i.setOpKind(n, OpKind.Immediate8);
      i.immediate8 = 1;
      return;
    case Kind.seg_reg:
      i.setOpKind(n, OpKind.Register);
      i.setOpRegister(n, rng.pick([Register.ES, Register.CS, Register.SS, Register.DS, Register.FS, Register.GS]));
      return;
    case Kind.mem_offs:
      i.setOpKind(n, OpKind.Memory);
      i.memoryDisplSize = d.addressBytes;
      i.memoryDisplacement = target(d);
      return;
    case Kind.seg_rBX_al: {
      const bx = d.addressBytes === 8 ? Register.RBX : d.addressBytes === 4 ? Register.EBX : Register.BX;
      i.setOpKind(n, OpKind.Memory);
      i.memoryBase = bx;
      i.memoryIndex = Register.AL;
      setPart(d, bx, target(d));
      return;
    }
    case Kind.seg_rDI: {
      const di = d.addressBytes === 8 ? Register.RDI : d.addressBytes === 4 ? Register.EDI : Register.DI;
      i.setOpKind(
        n,
        [OpKind.MemorySegDI, OpKind.MemorySegEDI, OpKind.MemorySegRDI][d.addressBytes >> 2] ?? OpKind.Memory,
      );
      setPart(d, di, target(d));
      return;
    }
    case Kind.es_rDI:
      i.setOpKind(n, [OpKind.MemoryESDI, OpKind.MemoryESEDI, OpKind.MemoryESRDI][d.addressBytes >> 2] ?? OpKind.Memory);
      return;
    case Kind.seg_rSI:
      i.setOpKind(
        n,
        [OpKind.MemorySegSI, OpKind.MemorySegESI, OpKind.MemorySegRSI][d.addressBytes >> 2] ?? OpKind.Memory,
      );
      return;
    default:
      (d.setMemory ?? setMemory)(d, n);
  }
}
