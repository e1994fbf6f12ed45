import {
  CodeExt,
  Encoder,
  Instruction,
  MemorySize,
  MemorySizeExt,
  Mnemonic,
  OpCodeOperandKind as Kind,
  OpKind,
} from "../../src/decode/iced.js";
import { adjust, setImplicit, setString } from "./families.js";
import type { Form } from "./forms.js";
import { chooseScale, type Lane } from "./floats.js";
import { CODE, CODE_OFFSET, FILLED_BYTES, WINDOW_BYTES, type Case } from "./layout.js";
import { registerCount, setOperand, type Draft } from "./operands.js";
import { interestingValue, Rng } from "./rng.js";
import { alignmentOf, areaOf, lanesOf, setVectorMemory, setVectorState } from "./vector-state.js";

export const CASES_PER_FORM = 300;

const FLAGS_MASK = 0x8d5;
const DF = 0x400;

const seedOf = (form: Form, index: number): number => {
  let hash = 0x811c9dc5 ^ form.bitness;
  for (const char of form.id) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193);
  return (hash + Math.imul(index, 0x9e3779b1)) | 0;
};

/** What the generator asks of a `Code`. */
export interface Shape {
  readonly mnemonic: string;
  readonly kinds: readonly Kind[];
  readonly lockable: boolean;
  readonly addressSize: number;
  /** iced-x86's name of what the operand in memory is. */
  readonly memory: string;
  readonly alignment: number;
}

const shapes = new Map<number, Shape>();

export function shapeOf(code: number): Shape {
  let shape = shapes.get(code);
  if (shape === undefined) {
    const opCode = CodeExt.opCode(code);
    const mnemonic = Mnemonic[opCode.mnemonic] ?? "";
    shape = {
      mnemonic,
      kinds: Array.from({ length: opCode.opCount }, (_, n) => opCode.opKind(n)),
      lockable: opCode.canUseLockPrefix && LOCKABLE.has(mnemonic),
      addressSize: opCode.addressSize,
      memory: MemorySize[opCode.memorySize] ?? "",
      alignment: alignmentOf(MemorySize[opCode.memorySize] ?? "", MemorySizeExt.size(opCode.memorySize)),
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

/** The bytes of a draft's instruction; undefined if there is no such instruction. */
export function encode(d: Draft): Uint8Array | undefined {
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
  const { mnemonic, kinds, lockable, memory: memoryKind, alignment } = shapeOf(form.code);
  const memory = new Uint8Array(WINDOW_BYTES);
  const view = new DataView(memory.buffer);
  for (let n = 0; n < FILLED_BYTES; n += 8) view.setBigUint64(n, interestingValue(rng), true);
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
    alignment,
  };
  const lanes: readonly Lane[] = lanesOf(form.set, mnemonic, memoryKind);
  const scale = chooseScale(rng);
  const fx = setVectorState(d, lanes, scale);
  setImplicit(d);
  kinds.forEach((kind, n) => setOperand(d, n, kind));
  if (kinds.includes(Kind.es_rDI) || kinds.includes(Kind.seg_rSI)) setString(d);
  const usable = adjust(d) && (form.set === "integer" || setVectorMemory(d, lanes, scale));
  if (form.repeat === "rep") instruction.hasRepPrefix = true;
  if (form.repeat === "repne") instruction.hasRepnePrefix = true;
  if (lockable && instruction.op0Kind === OpKind.Memory && rng.chance(1, 4)) instruction.hasLockPrefix = true;
  if (form.bitness !== 64) for (let n = 0; n < 8; n++) d.gprs[n] = BigInt.asUintN(32, d.gprs[n] ?? 0n);
  const bytes = encode(d);
  instruction.free();
  if (bytes === undefined || !usable) return undefined;
  const flags = (rng.u32() & FLAGS_MASK) | (rng.chance(1, 4) ? DF : 0);
  const area = areaOf(memoryKind);
  if (area === undefined || d.address === undefined) return { bytes, gprs: d.gprs, flags, memory, fx };
  const { address } = d;
  const open = area.open.map(([offset, size]) => [address + offset, size] as const);
  return { bytes, gprs: d.gprs, flags, memory, fx, open };
}

/** The case of a form with the given number: the same wherever it is generated. */
export function generateCase(form: Form, index: number): Case {
  for (let retry = 0; retry < 64; retry++) {
    const made = attempt(form, seedOf(form, index * 64 + retry));
    if (made !== undefined) return made;
  }
  throw new Error(`${form.id}: no case can be encoded`);
}
