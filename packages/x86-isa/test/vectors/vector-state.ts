import { Code, MemorySize } from "../../src/decode/iced.js";
import { generalRegister } from "../../src/index.js";
import { writeF32, writeF64, writeF80, writeLanes, type Lane, type Scale } from "./floats.js";
import { FX, INITIAL_FX, randomControlWord, randomFx, randomMxcsr, randomStatusWord } from "./fxsave.js";
import { WINDOW, WINDOW_BYTES } from "./layout.js";
import type { Draft } from "./operands.js";

/** What the registers of a form's cases hold, from the lanes that its operands have. */
export function lanesOf(set: Draft["form"]["set"], mnemonic: string, memory: string): readonly Lane[] {
  if (set === "integer") return ["integer"];
  if (/^Cvt/.test(mnemonic)) return ["f32", "f64", "integer"];
  if (/^F(?!x)/.test(mnemonic)) return ["f80"];
  if (/Float32/.test(memory) || /[ps]s$/.test(mnemonic)) return ["f32", "f32", "f32", "integer"];
  if (/Float64/.test(memory) || /[ps]d$/.test(mnemonic)) return ["f64", "f64", "f64", "integer"];
  if (/^P/.test(mnemonic)) return ["integer", "integer", "integer", "f32"];
  return ["integer", "f32", "f64", "f80"];
}

/** Areas that these instructions write or read are larger than any vector, and partly vendor's business. */
interface Area {
  readonly bytes: number;
  /** Parts that are not compared: pointers to the last instruction and operand, which processors keep differently. */
  readonly open: readonly (readonly [offset: number, bytes: number])[];
}

const ENVIRONMENT_14: Area = { bytes: 14, open: [[6, 8]] };
const ENVIRONMENT_28: Area = { bytes: 28, open: [[12, 16]] };
const FXSAVE_AREA: Area = { bytes: 512, open: [[FX.FOP, 18], [FX.MXCSR_MASK, 4]] }; // prettier-ignore
/** Which parts XSAVE finds in their initial state is the processor's business too. */
const XSAVE_AREA: Area = { bytes: 576, open: [...FXSAVE_AREA.open, [512, 1]] };

const AREAS: ReadonlyMap<string, Area> = new Map([
  ["FpuEnv14", ENVIRONMENT_14],
  ["FpuEnv28", ENVIRONMENT_28],
  ["FpuState94", { ...ENVIRONMENT_14, bytes: 94 }],
  ["FpuState108", { ...ENVIRONMENT_28, bytes: 108 }],
  ["Fxsave_512Byte", FXSAVE_AREA],
  ["Fxsave64_512Byte", FXSAVE_AREA],
  ["Xsave", XSAVE_AREA],
  ["Xsave64", XSAVE_AREA],
]);

export const areaOf = (memory: string): Area | undefined => AREAS.get(memory);

const ALIGNMENTS: ReadonlyMap<string, number> = new Map([
  ["Fxsave_512Byte", 16],
  ["Fxsave64_512Byte", 16],
  ["Xsave", 64],
  ["Xsave64", 64],
]);

/** What an operand is to be aligned to so that no instruction minds. */
export const alignmentOf = (memory: string, size: number): number => ALIGNMENTS.get(memory) ?? (size >= 16 ? 16 : 1);

/** x87 and SSE state of a case. */
export function setVectorState(d: Omit<Draft, "fx">, lanes: readonly Lane[], scale: Scale): Uint8Array {
  if (d.form.set === "integer") return INITIAL_FX;
  const fx = randomFx(d.rng, lanes, scale);
  // Only what looks at the status word minds exceptions that are pending.
  if (!/^(F|Wait|Emms|.*mm_)/.test(Code[d.form.code] ?? "")) {
    const view = new DataView(fx.buffer);
    view.setUint16(FX.FSW, view.getUint16(FX.FSW, true) & 0x7f00, true);
  }
  return fx;
}

function writeBcd(d: Draft, view: DataView, at: number): void {
  const { rng } = d;
  for (let n = 0; n < 9; n++) view.setUint8(at + n, (rng.below(10) << 4) | rng.below(10));
  const digits = rng.below(10);
  for (let n = digits; n < 9; n++) view.setUint8(at + n, 0);
  view.setUint8(at + 9, rng.pick([0, 0x80, 0x80, 0x7f]));
}

/** A tag word of full size: bits of empty registers are what counts. */
function writeEnvironment(d: Draft, view: DataView, at: number, wide: boolean): void {
  const { rng } = d;
  const control = randomControlWord(rng) | (rng.chance(1, 8) ? rng.u32() & 0xe080 : 0);
  const words = [control, randomStatusWord(rng, control), rng.chance(1, 3) ? 0xffff : rng.u32() & 0xffff];
  words.forEach((word, n) => {
    view.setUint16(at + n * (wide ? 4 : 2), word, true);
  });
}

/** The area that FXRSTOR and XRSTOR load; an invalid one now and then. */
function writeState(d: Draft, memory: string, view: DataView, at: number, scale: Scale): void {
  const { rng } = d;
  const image = randomFx(rng, ["f32", "f64", "f80", "integer"], scale);
  for (let n = 0; n < image.length && at + n < WINDOW_BYTES; n++) view.setUint8(at + n, image[n] ?? 0);
  if (rng.chance(1, 12)) view.setUint32(at + FX.MXCSR, rng.pick([0x1_0000, 0x8000_0000, 0x1f80_1f80]), true);
  if (!memory.startsWith("Xsave") || at + 576 > WINDOW_BYTES) return;
  for (let n = 512; n < 576; n++) view.setUint8(at + n, 0);
  view.setUint8(at + 512, rng.below(4));
  if (rng.chance(1, 10)) view.setUint8(at + 512 + rng.pick([7, 8, 16, 23]), rng.pick([1, 0x80]));
}

const isLoadOfState = (mnemonic: string): boolean => /^(Fxrstor|Xrstor)/.test(mnemonic);

/**
 * The operand in memory, once its address is known: a value of its own kind, most of the time.
 *
 * @returns false if the draft cannot be used
 */
export function setVectorMemory(d: Draft, lanes: readonly Lane[], scale: Scale): boolean {
  const { rng, address, instruction: i } = d;
  const memory = MemorySize[i.memorySize] ?? "";
  if (/^X(save|rstor)/.test(d.mnemonic)) {
    // EDX:EAX cannot be part of the address too.
    const used = [i.memoryBase, i.memoryIndex].map((register) => generalRegister(register)?.index);
    if (used.includes(0) || used.includes(2)) return false;
    // Only x87 and SSE state, which every processor has.
    d.gprs[0] = (d.gprs[0] ?? 0n) & ~0xffff_ffffn | BigInt(rng.below(4)); // prettier-ignore
    d.gprs[2] = (d.gprs[2] ?? 0n) & ~0xffff_ffffn;
  }
  if (address === undefined) return true;
  const view = new DataView(d.memory.buffer, d.memory.byteOffset, d.memory.byteLength);
  const at = address - WINDOW;
  if (at < 0 || at + 16 > WINDOW_BYTES) return true;
  if (isLoadOfState(d.mnemonic)) {
    writeState(d, memory, view, at, scale);
    return true;
  }
  switch (memory) {
    case "FpuEnv14":
    case "FpuState94":
    case "FpuEnv28":
    case "FpuState108": {
      const wide = memory.endsWith("8");
      writeEnvironment(d, view, at, wide);
      const registers = at + (wide ? 28 : 14);
      if (memory.startsWith("FpuState")) for (let n = 0; n < 8; n++) writeF80(rng, scale, view, registers + n * 10);
      return true;
    }
    case "Float32":
      writeF32(rng, scale, view, at);
      return true;
    case "Float64":
      writeF64(rng, scale, view, at);
      return true;
    case "Float80":
      writeF80(rng, scale, view, at);
      return true;
    case "Bcd":
      writeBcd(d, view, at);
      return true;
    default:
  }
  if (d.mnemonic === "Ldmxcsr") view.setUint32(at, rng.chance(1, 8) ? rng.u32() & 0x1_ffff : randomMxcsr(rng), true);
  else if (d.mnemonic === "Fldcw") view.setUint16(at, rng.chance(1, 4) ? rng.u32() : randomControlWord(rng), true);
  else if (d.form.set === "vector") writeLanes(rng, rng.pick(lanes), scale, view, at);
  return true;
}
