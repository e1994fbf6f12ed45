import { Encoder, Instruction, OpCodeOperandKind, OpKind, Register } from "../decode/iced.js";
import type { Bitness } from "../decode/instruction.js";
import { AssemblerError, formsOf, type Form } from "./forms.js";
import { formatOperand, type AsmMemory, type AsmOperand, type AsmSymbol, type AsmValue } from "./operands.js";

/** Prefixes and pins that stand before one instruction. */
export interface Modifiers {
  readonly lock?: boolean;
  readonly rep?: boolean;
  readonly repne?: boolean;
  /** Operand size in bits where no operand says it: RETF, PUSH imm, LGDT, ... */
  readonly operandSize?: Bitness;
}

/** What an operand is checked against: the classes of registers by name prefix of the operand kind. */
const REGISTER_CLASSES: Readonly<Record<string, readonly [first: Register, last: Register]>> = {
  r8: [Register.AL, Register.R15L],
  r16: [Register.AX, Register.R15W],
  r32: [Register.EAX, Register.R15D],
  r64: [Register.RAX, Register.R15],
  seg: [Register.ES, Register.GS],
  xmm: [Register.XMM0, Register.XMM31],
  ymm: [Register.YMM0, Register.YMM31],
  zmm: [Register.ZMM0, Register.ZMM31],
  mm: [Register.MM0, Register.MM7],
  k: [Register.K0, Register.K7],
  bnd: [Register.BND0, Register.BND3],
  cr: [Register.CR0, Register.CR15],
  dr: [Register.DR0, Register.DR15],
  tr: [Register.TR0, Register.TR7],
};

const FIXED_REGISTERS: Readonly<Record<string, Register>> = {
  es: Register.ES,
  cs: Register.CS,
  ss: Register.SS,
  ds: Register.DS,
  fs: Register.FS,
  gs: Register.GS,
  al: Register.AL,
  cl: Register.CL,
  ax: Register.AX,
  dx: Register.DX,
  eax: Register.EAX,
  rax: Register.RAX,
  st0: Register.ST0,
};

/** Immediate kinds: bits encoded, bits of the operand that they are extended to, and the decoder's kind. */
const IMMEDIATES: Readonly<Record<string, readonly [bits: number, extended: number, kind: OpKind]>> = {
  imm8: [8, 8, OpKind.Immediate8],
  imm8sex16: [8, 16, OpKind.Immediate8to16],
  imm8sex32: [8, 32, OpKind.Immediate8to32],
  imm8sex64: [8, 64, OpKind.Immediate8to64],
  imm16: [16, 16, OpKind.Immediate16],
  imm32: [32, 32, OpKind.Immediate32],
  imm32sex64: [32, 64, OpKind.Immediate32to64],
  imm64: [64, 64, OpKind.Immediate64],
};

/** Where an instruction is assembled, and what its symbols are worth at the moment. */
export interface Place {
  readonly bitness: Bitness;
  readonly address: bigint;
  resolve(symbol: AsmSymbol): bigint;
}

const isValue = (operand: AsmOperand): operand is AsmValue => typeof operand !== "object" || operand.kind === "symbol";

export function valueOf(value: AsmValue, place: Pick<Place, "resolve">): bigint {
  if (typeof value === "string") return place.resolve({ kind: "symbol", name: value, addend: 0n, minus: undefined });
  return typeof value === "object" ? place.resolve(value) : BigInt(value);
}

/** Immediates are accepted in their signed and unsigned reading, as long as the operand's bits come out the same. */
function setImmediate(i: Instruction, n: number, kindName: string, value: bigint, second: boolean): boolean {
  const row = IMMEDIATES[kindName];
  if (row === undefined) {
    if (kindName !== "imm8_const_1" || value !== 1n) return false;
    i.setOpKind(n, OpKind.Immediate8);
    i.immediate8 = 1;
    return true;
  }
  const [bits, extended, kind] = row;
  if (value < -(1n << BigInt(extended - 1)) || value >= 1n << BigInt(extended)) return false;
  const operand = BigInt.asIntN(extended, value);
  if (bits !== extended && operand !== BigInt.asIntN(bits, operand)) return false;
  if (second) {
    i.setOpKind(n, OpKind.Immediate8_2nd);
    i.immediate8_2nd = Number(BigInt.asUintN(8, operand));
    return bits === 8;
  }
  i.setOpKind(n, kind);
  i.setImmediateI64(
    n,
    bits === 64 ? BigInt.asIntN(64, operand) : extended === bits ? BigInt.asUintN(bits, operand) : operand,
  );
  return true;
}

const isGeneral = (register: Register): boolean => register >= Register.AX && register <= Register.R15;

function setMemory(i: Instruction, n: number, operand: AsmMemory, place: Place): boolean {
  const { base, index, scale = 1, disp, segment, absolute = false } = operand.parts;
  i.setOpKind(n, OpKind.Memory);
  i.segmentPrefix = segment?.register ?? Register.None;
  i.memoryIndex = index?.register ?? Register.None;
  i.memoryIndexScale = scale;
  const value = disp === undefined ? 0n : valueOf(disp, place);
  const bytes = place.bitness / 8;
  if (base === undefined && index === undefined) {
    const relative = place.bitness === 64 && !absolute && segment === undefined;
    i.memoryBase = relative ? Register.RIP : Register.None;
    if (!relative && place.bitness === 64 && BigInt.asIntN(32, value) !== BigInt.asIntN(64, value)) return false;
    i.memoryDisplSize = relative ? 8 : place.bitness === 16 && value > 0xffffn ? 4 : bytes;
    i.memoryDisplacement = BigInt.asUintN(64, value);
    return true;
  }
  const register = (base ?? index)?.register ?? Register.None;
  if (!isGeneral(register)) return false;
  i.memoryBase = base?.register ?? Register.None;
  // The encoder takes the short displacement if it fits, and widens it where the form needs one.
  i.memoryDisplSize = base === undefined ? (register >= Register.RAX ? 8 : 4) : value === 0n ? 0 : 1;
  i.memoryDisplacement = BigInt.asUintN(64, value);
  return true;
}

const STRING_KINDS: Readonly<Record<string, readonly [OpKind, OpKind, OpKind]>> = {
  seg_rSI: [OpKind.MemorySegSI, OpKind.MemorySegESI, OpKind.MemorySegRSI],
  seg_rDI: [OpKind.MemorySegDI, OpKind.MemorySegEDI, OpKind.MemorySegRDI],
  es_rDI: [OpKind.MemoryESDI, OpKind.MemoryESEDI, OpKind.MemoryESRDI],
};

/** Put an implied operand in place: memory through rSI, rDI or rBX, or a fixed register. */
function setImplied(i: Instruction, n: number, kindName: string, bitness: Bitness): boolean {
  const fixed = FIXED_REGISTERS[kindName];
  const mode = bitness === 16 ? 0 : bitness === 32 ? 1 : 2;
  if (fixed !== undefined) {
    i.setOpKind(n, OpKind.Register);
    i.setOpRegister(n, fixed);
    return true;
  }
  const string = STRING_KINDS[kindName];
  if (string !== undefined) {
    i.setOpKind(n, string[mode]);
    return true;
  }
  if (kindName !== "seg_rBX_al") return false;
  i.setOpKind(n, OpKind.Memory);
  i.memoryBase = [Register.BX, Register.EBX, Register.RBX][mode] ?? Register.RBX;
  i.memoryIndex = Register.AL;
  return true;
}

const isString = (kind: OpCodeOperandKind): boolean => {
  const name = OpCodeOperandKind[kind];
  return STRING_KINDS[name] !== undefined || name === "seg_rBX_al";
};

function setBranch(i: Instruction, n: number, kindName: string, target: bigint, place: Place): boolean {
  const bits = Number(/^br(16|32|64)_/.exec(kindName)?.[1] ?? 0);
  if (bits !== place.bitness) return false;
  i.setOpKind(n, bits === 16 ? OpKind.NearBranch16 : bits === 32 ? OpKind.NearBranch32 : OpKind.NearBranch64);
  i.nearBranch64 = BigInt.asUintN(bits, target);
  return true;
}

/** Try to put one operand where a form has an operand of `kind`. */
function setOperand(
  i: Instruction,
  n: number,
  kind: OpCodeOperandKind,
  operand: AsmOperand,
  form: Form,
  place: Place,
): boolean {
  const name = OpCodeOperandKind[kind];
  if (isValue(operand)) {
    if (name.startsWith("br")) return setBranch(i, n, name, valueOf(operand, place), place);
    if (!name.startsWith("imm")) return false;
    const earlier = form.kinds.slice(0, n).some((k) => OpCodeOperandKind[k].startsWith("imm"));
    return setImmediate(i, n, name, valueOf(operand, place), earlier);
  }
  switch (operand.kind) {
    case "far": {
      const bits = operand.bits ?? (place.bitness === 16 ? 16 : 32);
      if (name !== (bits === 16 ? "farbr2_2" : "farbr4_2")) return false;
      i.setOpKind(n, bits === 16 ? OpKind.FarBranch16 : OpKind.FarBranch32);
      const offset = Number(BigInt.asUintN(bits, valueOf(operand.offset, place)));
      if (bits === 16) i.farBranch16 = offset;
      else i.farBranch32 = offset;
      i.farBranchSelector = operand.selector;
      return true;
    }
    case "memory": {
      if (name === "mem_offs") {
        const { base, index, absolute = false } = operand.parts;
        if (base !== undefined || index !== undefined || (place.bitness === 64 && !absolute)) return false;
      } else if (!name.startsWith("mem") && !name.includes("_or_mem")) return false;
      if (operand.size !== undefined && form.memoryBytes !== 0 && operand.size !== form.memoryBytes) return false;
      return setMemory(i, n, operand, place);
    }
    case "register": {
      const fixed = FIXED_REGISTERS[name];
      const range = REGISTER_CLASSES[/^(r8|r16|r32|r64|[a-z]+)(?:p\d)?_/.exec(name)?.[1] ?? ""];
      const stack = name === "sti_opcode" && operand.register >= Register.ST0 && operand.register <= Register.ST7;
      if (fixed !== undefined ? fixed !== operand.register : !stack && range === undefined) return false;
      if (range !== undefined && (operand.register < range[0] || operand.register > range[1])) return false;
      i.setOpKind(n, OpKind.Register);
      i.setOpRegister(n, operand.register);
      return true;
    }
  }
}

/** Whether the operands leave the operand size open, so that the form's default decides. */
function sizeIsOpen(operands: readonly AsmOperand[]): boolean {
  return operands.every((o) => isValue(o) || (o.kind === "memory" && o.size === undefined));
}

function naturalSize(form: Form, bitness: Bitness): number {
  return bitness !== 64 ? bitness : form.default64 ? 64 : 32;
}

function build(
  form: Form,
  operands: readonly AsmOperand[],
  modifiers: Modifiers,
  place: Place,
): Instruction | undefined {
  const i = new Instruction();
  i.code = form.code;
  const implied = operands.length === 0 && form.kinds.some(isString);
  const matches =
    (implied || operands.length === form.kinds.length) &&
    form.kinds.every((kind, n) => {
      if (implied) return setImplied(i, n, OpCodeOperandKind[kind], place.bitness);
      const operand = operands[n];
      return operand !== undefined && setOperand(i, n, kind, operand, form, place);
    });
  if (!matches) {
    i.free();
    return undefined;
  }
  if (modifiers.lock === true) i.hasLockPrefix = true;
  if (modifiers.rep === true) i.hasRepPrefix = true;
  if (modifiers.repne === true) i.hasRepnePrefix = true;
  return i;
}

const encoders = new Map<Bitness, Encoder>();
function encoderOf(bitness: Bitness): Encoder {
  let encoder = encoders.get(bitness);
  if (encoder === undefined) encoders.set(bitness, (encoder = new Encoder(bitness)));
  return encoder;
}

/** Bytes of one built instruction; undefined where the encoder refuses it (a branch out of reach, say). */
function tryEncode(i: Instruction, place: Place): Uint8Array | string {
  const encoder = encoderOf(place.bitness);
  try {
    encoder.encode(i, place.bitness === 64 ? place.address : BigInt.asUintN(place.bitness, place.address));
    return encoder.takeBuffer();
  } catch (error) {
    encoder.takeBuffer();
    return error instanceof Error ? error.message : String(error);
  }
}

export const describe = (mnemonic: string, operands: readonly AsmOperand[]): string =>
  `${mnemonic} ${operands.map(formatOperand).join(", ")}`.trim();

/**
 * Encode an instruction in its shortest form that has at least `minimum` bytes. A statement only ever grows from one
 * pass to the next, so that the layout comes to rest.
 */
export function encodeShortest(
  mnemonic: string,
  operands: readonly AsmOperand[],
  modifiers: Modifiers,
  place: Place,
  minimum = 0,
): Uint8Array {
  const { bitness } = place;
  const forms = formsOf(mnemonic).filter((form) => form.modes.includes(bitness));
  const open = sizeIsOpen(operands);
  const preferred = (form: Form): boolean =>
    form.operandSize === 0 || form.operandSize === (modifiers.operandSize ?? naturalSize(form, bitness));
  // A mnemonic that names its size (IRETQ, STOSQ) has no form of another one.
  const sizeMatters = open && forms.some(preferred);
  const memoryUnsized = operands.some((o) => !isValue(o) && o.kind === "memory" && o.size === undefined);
  const branch = (form: Form): boolean => form.kinds.some((kind) => OpCodeOperandKind[kind].startsWith("br"));
  let best: Uint8Array | undefined;
  let refusal: string | undefined;
  const sizes = new Set<number>();
  for (const form of forms) {
    if (sizeMatters && !preferred(form) && !branch(form)) continue;
    if (branch(form) && form.addressSize !== 0 && form.addressSize !== bitness) continue;
    const i = build(form, operands, modifiers, place);
    if (i === undefined) continue;
    const encoded = tryEncode(i, place);
    i.free();
    if (typeof encoded === "string") {
      refusal = encoded;
      continue;
    }
    if (memoryUnsized && open) sizes.add(form.memoryBytes);
    if (encoded.length >= minimum && (best === undefined || encoded.length < best.length)) best = encoded;
  }
  if (sizes.size > 1) {
    throw new AssemblerError(
      `${describe(mnemonic, operands)}: the size of the memory operand is open: say byte, word, dword or qword`,
    );
  }
  if (best !== undefined) return best;
  const known = forms.map((form) => form.syntax).slice(0, 8);
  const reason =
    refusal ?? (known.length === 0 ? `not in ${bitness}-bit code` : `no form takes them; there is ${known.join("; ")}`);
  throw new AssemblerError(`${describe(mnemonic, operands)}: ${reason}`);
}
