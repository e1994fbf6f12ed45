import {
  Code,
  CodeExt,
  Encoder,
  Instruction,
  MemorySizeExt,
  Mnemonic,
  OpCodeOperandKind as Kind,
  OpKind,
  Register,
} from "../../src/decode/iced.js";
import { generalRegister } from "../../src/index.js";
import type { Form } from "./forms.js";
import { interestingValue, Rng } from "./rng.js";

/** Linear address of the memory that cases read and write; the pages around it are mapped and zero. */
export const WINDOW = 0x2000;
export const WINDOW_BYTES = 512;
/** First and last byte (exclusive) that exists around the window. */
export const DATA_START = 0x1000;
export const DATA_END = 0x4000;
/** Linear address of the instruction in 32- and 64-bit code; in 16-bit code the segment base, so that IP is 0x100. */
export const CODE = 0x2000_0000;
export const CODE_OFFSET = 0x100;

export const CASES_PER_FORM = 50;

const RSP = 4;
const FLAGS_MASK = 0x8d5;
const DF = 0x400;

/** What one execution starts from. */
export interface Case {
  readonly bytes: Uint8Array;
  readonly gprs: readonly bigint[];
  /** CF, PF, AF, ZF, SF, OF and DF. */
  readonly flags: number;
  readonly memory: Uint8Array;
}

interface Draft {
  readonly rng: Rng;
  readonly form: Form;
  readonly instruction: Instruction;
  readonly mnemonic: string;
  readonly gprs: bigint[];
  readonly memory: Uint8Array;
  readonly addressBytes: 2 | 4 | 8;
}

const seedOf = (form: Form, index: number): number => {
  let hash = 0x811c9dc5 ^ form.bitness;
  for (const char of form.id) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193);
  return (hash + Math.imul(index, 0x9e3779b1)) | 0;
};

const registerCount = (form: Form): number => (form.bitness === 64 ? 16 : 8);

/** A register operand of some width; in 64-bit code any of sixteen, and the byte registers of both kinds. */
function pickRegister(d: Draft, size: 1 | 2 | 4 | 8): Register {
  const { rng, form } = d;
  const low = rng.chance(1, 2);
  const n = rng.below(low ? 4 : registerCount(form));
  switch (size) {
    case 1:
      if (form.bitness === 64) return (rng.chance(1, 4) ? 1 + rng.below(8) : n < 4 ? 1 + n : 5 + n) as Register;
      return (1 + (n & 7)) as Register;
    case 2:
      return (21 + n) as Register;
    case 4:
      return (37 + n) as Register;
    case 8:
      return (53 + n) as Register;
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

const MEMORY_KINDS = new Set<number>([Kind.r8_or_mem, Kind.r16_or_mem, Kind.r32_or_mem, Kind.r64_or_mem]);

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
const NARROW_DOUBLE_SHIFT = /^Sh[lr]d_rm16/;

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
function target(d: Draft): bigint {
  return BigInt(WINDOW + 64 + d.rng.below(64) * (d.rng.chance(1, 3) ? 1 : 4));
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

function setPart(d: Draft, register: Register, value: bigint): void {
  const part = generalRegister(register);
  if (part === undefined) return;
  const bits = part.size * 8;
  const old = d.gprs[part.index] ?? 0n;
  const low = BigInt.asUintN(bits, value);
  d.gprs[part.index] = (old & ~((1n << BigInt(bits)) - 1n)) | low;
}

function getPart(d: Draft, register: Register): bigint {
  const part = generalRegister(register);
  return part === undefined ? 0n : BigInt.asUintN(part.size * 8, d.gprs[part.index] ?? 0n);
}

/** Choose an address expression of the draft's address size, and set its registers so that it points into the window. */
function setMemory(d: Draft, n: number): void {
  const { rng, instruction: i } = d;
  const size = d.addressBytes;
  let at = target(d);
  if (d.mnemonic === "Cmpxchg16b" && rng.chance(3, 4)) at &= ~15n;
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
    i.memoryIndex = index as Register;
    i.memoryIndexScale = 1 << rng.below(4);
    if (index === base) {
      // One register for both: solve (1 + scale) * r = at - displ when possible, else drop the index.
      i.memoryIndex = Register.None;
      i.memoryIndexScale = 1;
    } else {
      scaled = getPart(d, index as Register) * BigInt(i.memoryIndexScale);
    }
  }
  setPart(d, base, BigInt.asUintN(bits, at - displ - scaled));
}

function setOperand(d: Draft, n: number, kind: number): void {
  const { rng, instruction: i, form } = d;
  const fixed = FIXED_REGISTERS.get(kind);
  if (fixed !== undefined) {
    i.setOpKind(n, OpKind.Register);
    i.setOpRegister(n, fixed);
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
      setMemory(d, n);
  }
}

const WIDTH_REGISTERS: Readonly<Record<2 | 4 | 8, readonly [si: Register, di: Register, cx: Register]>> = {
  2: [Register.SI, Register.DI, Register.CX],
  4: [Register.ESI, Register.EDI, Register.ECX],
  8: [Register.RSI, Register.RDI, Register.RCX],
};

/** Registers that a family of instructions takes for granted, chosen so that the case is worth running. */
function setImplicit(d: Draft): void {
  const { rng, mnemonic, form } = d;
  const stack = (value: number): void => {
    d.gprs[RSP] = BigInt(WINDOW + value);
  };
  stack(288 + rng.below(16) * (rng.chance(1, 4) ? 1 : 8));
  switch (mnemonic) {
    case "Div":
    case "Idiv": {
      if (rng.chance(1, 4)) break;
      const info = Code[form.code] ?? "";
      const width = info.includes("rm8") ? 8 : info.includes("rm16") ? 16 : info.includes("rm32") ? 32 : 64;
      const rax = d.gprs[0] ?? 0n;
      const low = BigInt.asUintN(width, rax);
      const signed = mnemonic === "Idiv" && BigInt.asIntN(width, low) < 0n;
      const high = BigInt.asUintN(width, (signed ? -1n : 0n) + (rng.chance(1, 3) ? rng.pick([1n, -1n, 2n]) : 0n));
      if (width === 8) d.gprs[0] = (rax & ~0xffffn) | (high << 8n) | low;
      else setPart(d, (width === 16 ? Register.DX : width === 32 ? Register.EDX : Register.RDX) as Register, high);
      break;
    }
    case "Leave":
    case "Enter":
      d.gprs[5] = BigInt(WINDOW + 320 + rng.below(16) * 8);
      if (mnemonic === "Enter") stack(256 + rng.below(16) * (rng.chance(1, 4) ? 1 : 8));
      break;
    case "Loop":
    case "Loope":
    case "Loopne":
    case "Jcxz":
    case "Jecxz":
    case "Jrcxz":
      if (rng.chance(1, 2))
        d.gprs[1] = (d.gprs[1] ?? 0n) & rng.pick([0n, 1n, 0xffff_0000n, 0xffff_ffff_0000_0000n, 0xffff_0001n]);
      break;
    case "Cmpxchg8b":
    case "Cmpxchg16b":
      break;
    default:
  }
}

function setString(d: Draft): void {
  const { rng, form } = d;
  const [si, di, cx] = WIDTH_REGISTERS[d.addressBytes];
  const place = (): bigint => BigInt(WINDOW + 160 + rng.below(160));
  const from = place();
  setPart(d, si, from);
  setPart(d, di, rng.chance(1, 3) ? from + BigInt(rng.below(17) - 8) : place());
  if (form.repeat !== "") setPart(d, cx, BigInt(rng.pick([0, 1, 2, 3, 5, 8, 12])));
  // Runs of equal bytes, so that REPE and REPNE get past the first element.
  if (rng.chance(2, 3)) d.memory.fill(rng.pick([0, 0xff, 0x41]), 100, 400);
  if (rng.chance(1, 2)) d.memory[160 + rng.below(160)] = rng.below(256);
  if (rng.chance(1, 3)) d.gprs[0] = rng.pick([0n, 0x4141_4141_4141_4141n, 0xffff_ffff_ffff_ffffn]);
}

/**
 * After the operands are chosen: values in memory and registers that a family needs to be worth running.
 *
 * @returns false if the draft cannot be used
 */
function adjust(d: Draft): boolean {
  const { rng, mnemonic, form, instruction: i } = d;
  const write = (address: bigint, value: bigint, size: number): void => {
    const at = Number(address) - WINDOW;
    for (let n = 0; n < size; n++) d.memory[at + n] = Number((value >> BigInt(8 * n)) & 0xffn);
  };
  const codeTarget = (): bigint => BigInt((form.bitness === 16 ? 0 : CODE) + 0x180 + rng.below(0x4000));
  const memoryAddress = (): bigint | undefined => {
    if (i.memoryBase === Register.RIP || i.memoryBase === Register.EIP) return BigInt.asUintN(64, i.memoryDisplacement);
    const sum =
      getPart(d, i.memoryBase) +
      getPart(d, i.memoryIndex) * BigInt(i.memoryIndexScale) +
      BigInt.asUintN(64, i.memoryDisplacement);
    return BigInt.asUintN(d.addressBytes * 8, sum);
  };
  const inWindow = (address: bigint | undefined): address is bigint =>
    address !== undefined && address >= BigInt(WINDOW) && address < BigInt(WINDOW + WINDOW_BYTES - 32);
  if (["Bt", "Bts", "Btr", "Btc"].includes(mnemonic) && form.variant === "memory" && i.op1Kind === OpKind.Register) {
    // An index register that is part of the address would lead out of the window.
    const size = generalRegister(i.op1Register)?.size ?? 8;
    const used = [i.memoryBase, i.memoryIndex].map((register) => generalRegister(register)?.index);
    let register = i.op1Register;
    while (used.includes(generalRegister(register)?.index)) register = pickRegister(d, size);
    i.op1Register = register;
    setPart(d, register, BigInt.asUintN(size * 8, BigInt(rng.below(1000) - 400)));
  }
  if (NARROW_DOUBLE_SHIFT.test(Code[form.code] ?? "") && i.op2Kind === OpKind.Register) {
    const base = [i.memoryBase, i.memoryIndex].some((register) => generalRegister(register)?.index === 1);
    if (base && form.variant === "memory") return false;
    setPart(d, Register.CL, BigInt(rng.below(17) | (rng.below(8) << 5)));
  }
  if (mnemonic === "Ret") write(d.gprs[RSP] ?? 0n, codeTarget(), form.bitness === 64 || rng.chance(1, 2) ? 8 : 2);
  if (mnemonic === "Call" || mnemonic === "Jmp") {
    // A call through the stack pointer would push next to its own target, so that one stays in the window.
    if (form.variant === "register" && generalRegister(i.op0Register)?.index !== RSP) {
      setPart(d, i.op0Register, codeTarget());
    }
    const address = memoryAddress();
    if (form.variant === "memory" && inWindow(address)) {
      const size = MemorySizeExt.size(i.memorySize);
      write(address, codeTarget() & ((1n << BigInt(size * 8)) - 1n), size);
    }
  }
  if (mnemonic.startsWith("Cmpxchg") && rng.chance(1, 2)) {
    const address = memoryAddress();
    if (mnemonic === "Cmpxchg") {
      if (form.variant === "register") {
        const part = generalRegister(i.op0Register);
        if (part !== undefined && !part.high) d.gprs[0] = d.gprs[part.index] ?? 0n;
      } else if (
        inWindow(address) &&
        generalRegister(i.memoryBase)?.index !== 0 &&
        generalRegister(i.memoryIndex)?.index !== 0
      ) {
        write(address, d.gprs[0] ?? 0n, 8);
      }
    } else if (inWindow(address)) {
      const size = mnemonic === "Cmpxchg8b" ? 4 : 8;
      write(address, d.gprs[0] ?? 0n, size);
      write(address + BigInt(size), d.gprs[2] ?? 0n, size);
    }
  }
  if (mnemonic === "Bound") {
    const address = memoryAddress();
    const size = MemorySizeExt.size(i.memorySize) >> 1;
    if (inWindow(address) && rng.chance(2, 3)) {
      write(address, BigInt.asUintN(size * 8, -200n), size);
      write(address + BigInt(size), 200n, size);
      setPart(d, i.op0Register, BigInt.asUintN(size * 8, BigInt(rng.below(420) - 210)));
    }
  }
  return true;
}

/** What the generator asks of a `Code`. */
interface Shape {
  readonly mnemonic: string;
  readonly kinds: readonly Kind[];
  readonly lockable: boolean;
  readonly addressSize: number;
}

const shapes = new Map<number, Shape>();

function shapeOf(code: number): Shape {
  let shape = shapes.get(code);
  if (shape === undefined) {
    const opCode = CodeExt.opCode(code);
    const mnemonic = Mnemonic[opCode.mnemonic] ?? "";
    shape = {
      mnemonic,
      kinds: Array.from({ length: opCode.opCount }, (_, n) => opCode.opKind(n)),
      lockable: opCode.canUseLockPrefix && LOCKABLE.has(mnemonic),
      addressSize: opCode.addressSize,
    };
    opCode.free();
    shapes.set(code, shape);
  }
  return shape;
}

function addressSizeOf(rng: Rng, form: Form): 2 | 4 | 8 {
  const { addressSize, kinds } = shapeOf(form.code);
  if (addressSize !== 0) return (addressSize >> 3) as 2 | 4 | 8;
  const own = (form.bitness >> 3) as 2 | 4 | 8;
  if (!rng.chance(1, kinds.includes(Kind.mem_offs) ? 3 : 5)) return own;
  return own === 4 ? 2 : 4;
}

const encoders = new Map<number, Encoder>();

function encode(d: Draft): Uint8Array | undefined {
  const { bitness } = d.form;
  let encoder = encoders.get(bitness);
  if (encoder === undefined) {
    encoder = new Encoder(bitness);
    encoders.set(bitness, encoder);
  }
  try {
    encoder.encode(d.instruction, BigInt(bitness === 16 ? CODE_OFFSET : CODE + CODE_OFFSET));
    return encoder.takeBuffer();
  } catch {
    // A high-byte register together with a REX prefix: there is no such instruction.
    encoder.free();
    encoders.delete(bitness);
    return undefined;
  }
}

const LOCKABLE = new Set(
  mnemonicList("Add Or Adc Sbb And Sub Xor Inc Dec Not Neg Xchg Xadd Cmpxchg Cmpxchg8b Cmpxchg16b Bts Btr Btc"),
);

function mnemonicList(list: string): string[] {
  return list.split(" ");
}

function attempt(form: Form, seed: number): Case | undefined {
  const rng = new Rng(seed);
  const instruction = new Instruction();
  instruction.code = form.code;
  const { mnemonic, kinds, lockable } = shapeOf(form.code);
  const memory = new Uint8Array(WINDOW_BYTES);
  const view = new DataView(memory.buffer);
  for (let n = 0; n < WINDOW_BYTES; n += 8) view.setBigUint64(n, interestingValue(rng), true);
  const d: Draft = {
    rng,
    form,
    instruction,
    mnemonic,
    gprs: Array.from({ length: 16 }, (_, n) =>
      n >= registerCount(form) ? 0n : BigInt.asUintN(form.bitness === 64 ? 64 : 32, interestingValue(rng)),
    ),
    memory,
    addressBytes: addressSizeOf(rng, form),
  };
  setImplicit(d);
  kinds.forEach((kind, n) => setOperand(d, n, kind));
  if (kinds.includes(Kind.es_rDI) || kinds.includes(Kind.seg_rSI)) setString(d);
  const usable = adjust(d);
  if (form.repeat === "rep") instruction.hasRepPrefix = true;
  if (form.repeat === "repne") instruction.hasRepnePrefix = true;
  if (lockable && instruction.op0Kind === OpKind.Memory && rng.chance(1, 4)) instruction.hasLockPrefix = true;
  if (form.bitness !== 64) for (let n = 0; n < 8; n++) d.gprs[n] = BigInt.asUintN(32, d.gprs[n] ?? 0n);
  const bytes = encode(d);
  instruction.free();
  if (bytes === undefined || !usable) return undefined;
  const flags = (rng.u32() & FLAGS_MASK) | (rng.chance(1, 4) ? DF : 0);
  return { bytes, gprs: d.gprs, flags, memory };
}

/** The case of a form with the given number: the same wherever it is generated. */
export function generateCase(form: Form, index: number): Case {
  for (let retry = 0; retry < 64; retry++) {
    const made = attempt(form, seedOf(form, index * 64 + retry));
    if (made !== undefined) return made;
  }
  throw new Error(`${form.id}: no case can be encoded`);
}
