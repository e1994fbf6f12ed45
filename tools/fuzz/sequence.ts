import { Instruction, MemorySizeExt, OpKind, Register } from "../../packages/x86-isa/src/decode/iced.js";
import { decode, liftInstruction, type Bitness } from "../../packages/x86-isa/src/index.js";
import { encode, generateCase, shapeOf } from "../../packages/x86-isa/test/vectors/cases.js";
import { undefinedFlags } from "../../packages/x86-isa/test/vectors/compare.js";
import { chooseScale, writeLanes, type Lane } from "../../packages/x86-isa/test/vectors/floats.js";
import type { Form } from "../../packages/x86-isa/test/vectors/forms.js";
import { randomControlWord, randomFx, randomMxcsr } from "../../packages/x86-isa/test/vectors/fxsave.js";
import { WINDOW, WINDOW_BYTES, type Case } from "../../packages/x86-isa/test/vectors/layout.js";
import { vectorMode } from "../../packages/x86-isa/test/vectors/environment.js";
import { setOperand, target, type Draft } from "../../packages/x86-isa/test/vectors/operands.js";
import { startIp } from "../../packages/x86-isa/test/vectors/program.js";
import { interestingValue, Rng } from "../../packages/x86-isa/test/vectors/rng.js";
import { suiteOf } from "../../packages/x86-isa/test/vectors/suite.js";

/** Kinds of instructions, so that a sequence is of few and they meet each other's results. */
type Flavour = "integer" | "sse" | "float" | "mmx" | "x87";

const LANES: Record<Flavour, readonly Lane[]> = {
  integer: ["integer"],
  sse: ["integer", "integer", "f32"],
  float: ["f32", "f64", "integer"],
  mmx: ["integer"],
  x87: ["f80"],
};

/** An instruction with what it cannot do without; or a branch over the next few items. */
export type Item =
  | { readonly kind: "code"; readonly bytes: Uint8Array }
  | { readonly kind: "branch"; readonly condition: number; readonly near: boolean; readonly over: number };

export interface Sequence {
  readonly bitness: Bitness;
  readonly items: readonly Item[];
  /** The case without its code. */
  readonly start: Case;
}

/**
 * Not part of sequences. What a processor keeps of the last x87 instruction would show in memory; a bit string is reached
 * by an offset that leads anywhere; results of some shifts are undefined.
 */
const LEFT_OUT: readonly RegExp[] = [
  /^(J|Loop|Call|Ret|Ud[012]|Bound|Into|Xabort)/,
  /^Bt[src]?_rm\d\d_r\d\d memory/,
  /^Sh[lr]d_rm16_r16_(CL|imm8)/,
  /^(Fnstenv|Fnsave|Fxsave|Xsave|Fxrstor|Xrstor|Ldmxcsr|Fldcw)/,
];

/**
 * Not part of 32-bit sequences: they load registers that hold addresses. In a small address space these may then meet
 * memory of the recorder's own, where the executors have none.
 */
const LEFT_OUT_32 = /^(Popa|Leave|Enter)/;

/** These mostly fault, or make what follows fault, with operands at random: one in so many is kept. */
const RARE: readonly (readonly [pattern: RegExp, one: number])[] = [
  [/^I?div_/i, 8],
  [/^Aam/, 4],
  [/^(Fldenv|Frstor)/, 16],
  [/^(Enter|Leave|Pop_rm|Maskmov)/, 4],
];

function flavourOf(form: Form): Flavour {
  if (form.set === "integer") return "integer";
  if (/^(F(?!x)|Wait)/.test(form.id)) return "x87";
  if (/_mm/.test(form.id)) return "mmx";
  return /^[A-Za-z]+[ps][sd]_|^Cvt/.test(form.id) ? "float" : "sse";
}

const isLifted = (form: Form): boolean => {
  const decoded = decode(generateCase(form, 0).bytes, startIp(form.bitness), form.bitness);
  if (decoded.kind !== "instruction") return true;
  return liftInstruction(decoded.instruction, vectorMode(form.bitness)).missing === undefined;
};

/** The forms that sequences are made of. */
export interface Pool {
  readonly bitness: Bitness;
  readonly flavours: ReadonlyMap<Flavour, readonly Form[]>;
  readonly size: number;
  /** Forms without a lifter. */
  readonly notLifted: readonly Form[];
}

export function makePool(bitness: 64 | 32): Pool {
  const forms = [...suiteOf("integer", bitness).forms, ...suiteOf("vector", bitness).forms].filter(
    (form) => !LEFT_OUT.some((pattern) => pattern.test(form.id)) && (bitness === 64 || !LEFT_OUT_32.test(form.id)),
  );
  const flavours = new Map<Flavour, Form[]>();
  const notLifted: Form[] = [];
  for (const form of forms) {
    if (!isLifted(form)) notLifted.push(form);
    else flavours.set(flavourOf(form), [...(flavours.get(flavourOf(form)) ?? []), form]);
  }
  return { bitness, flavours, size: forms.length - notLifted.length, notLifted };
}

/** Registers that hold addresses in the window. */
const PINNED: Readonly<Record<64 | 32, readonly number[]>> = { 64: [3, 4, 5, 6, 7, 12, 13], 32: [3, 4, 5, 6, 7] };
const RSP = 4;
const FREE = 3;
/** Distance of the stack's top from the window's start. */
const STACK_AT = 0x500;

/** An operand in memory by address, or by a register that holds one, with an index now and then. */
function placeOperand(d: Draft, n: number, before: Uint8Array[]): void {
  const { rng, instruction: i, addressBytes, form } = d;
  const bits64 = form.bitness === 64;
  i.setOpKind(n, OpKind.Memory);
  i.memoryIndexScale = 1;
  const style = rng.below(4);
  if (style === 0 || addressBytes === 2) {
    i.memoryDisplSize = addressBytes === 8 ? 4 : addressBytes;
    i.memoryDisplacement = target(d);
    return;
  }
  const first = addressBytes === 8 ? Register.RAX : Register.EAX;
  const base = rng.pick(PINNED[bits64 ? 64 : 32]);
  i.memoryBase = first + base;
  const step = d.alignment > 1 && rng.chance(15, 16) ? d.alignment : 1;
  const displacement = (rng.below(128) - 64) & ~(step - 1);
  i.memoryDisplSize = 1;
  i.memoryDisplacement = BigInt.asUintN(addressBytes * 8, BigInt(displacement));
  if (style !== 3 || d.mnemonic.startsWith("Pop")) return;
  // AND index, mask: what it holds must not lead away.
  const index = rng.below(FREE);
  i.memoryIndex = first + index;
  i.memoryIndexScale = 1 << rng.below(4);
  before.push(Uint8Array.of(0x83, 0xe0 | index, rng.pick([0x10, 0x30, 0x38, 0x3f]) & (d.alignment > 1 ? 0x30 : 0x3f)));
}

const dwordAt = (address: number): number[] => [address & 0xff, (address >> 8) & 0xff, 0, 0];
/** ModRM and, in 64-bit code, SIB of an absolute address. */
const absolute = (bitness: Bitness, reg: number): number[] =>
  bitness === 64 ? [(reg << 3) | 4, 0x25] : [(reg << 3) | 5];

/** A store of a control word, and the instruction that loads it. */
function controlLoad(rng: Rng, bitness: Bitness, sse: boolean): Uint8Array {
  const address = WINDOW + 0x40 + rng.below(32) * 4;
  const store = [0xc7, ...absolute(bitness, 0), ...dwordAt(address)];
  if (!sse) {
    const word = randomControlWord(rng);
    return Uint8Array.of(0x66, ...store, word & 0xff, word >> 8, 0xd9, ...absolute(bitness, 5), ...dwordAt(address));
  }
  const load = [0x0f, 0xae, ...absolute(bitness, 2), ...dwordAt(address)];
  return Uint8Array.of(...store, ...dwordAt(randomMxcsr(rng)), ...load);
}

const joined = (codes: readonly Uint8Array[]): Uint8Array => Uint8Array.from(codes.flatMap((code) => Array.from(code)));

/** One instruction with what it needs, which no branch parts; undefined if the choice came to nothing. */
function instructionOf(rng: Rng, form: Form): Uint8Array | undefined {
  for (const [pattern, one] of RARE) if (pattern.test(form.id) && !rng.chance(1, one)) return undefined;
  const { mnemonic, kinds, lockable, alignment, addressSize } = shapeOf(form.code);
  const own = form.bitness === 64 ? 8 : 4;
  const instruction = new Instruction();
  instruction.code = form.code;
  const before: Uint8Array[] = [];
  const d: Draft = {
    rng,
    form,
    instruction,
    mnemonic,
    // What the choice of operands sets registers and memory to is of no use here: the sequence has its own.
    gprs: Array.from({ length: 16 }, () => 0n),
    memory: new Uint8Array(WINDOW_BYTES),
    addressBytes: addressSize !== 0 ? ((addressSize >> 3) as 2 | 4 | 8) : own === 8 && rng.chance(1, 8) ? 4 : own,
    alignment,
    pinned: new Set(PINNED[form.bitness === 64 ? 64 : 32]),
    setMemory: (draft, n) => placeOperand(draft, n, before),
  };
  kinds.forEach((kind, n) => setOperand(d, n, kind));
  if (form.repeat !== "") {
    instruction.hasRepPrefix = form.repeat === "rep";
    instruction.hasRepnePrefix = form.repeat === "repne";
    before.push(Uint8Array.of(0xb9, rng.below(12), 0, 0, 0));
  }
  if (lockable && instruction.op0Kind === OpKind.Memory && rng.chance(1, 4)) instruction.hasLockPrefix = true;
  // The area of an environment or state is inside the window, whatever it holds.
  const bytes = MemorySizeExt.size(instruction.memorySize) > 128 ? undefined : encode(d);
  instruction.free();
  if (bytes === undefined) return undefined;
  // What leaves flags undefined is followed by a comparison in the same item.
  const compare = [0x39, 0xc0 | (rng.below(FREE) << 3) | rng.below(FREE)];
  return joined([...before, bytes, Uint8Array.from(undefinedFlags(form.code) === 0 ? [] : compare)]);
}

function stateOf(rng: Rng, bitness: 64 | 32, lanes: readonly Lane[]): Case {
  const scale = chooseScale(rng);
  const memory = new Uint8Array(WINDOW_BYTES);
  const view = new DataView(memory.buffer);
  for (let at = 0; at < WINDOW_BYTES; at += 16) writeLanes(rng, rng.pick(lanes), scale, view, at);
  const gprs = Array.from({ length: 16 }, (_, n) => {
    if (n >= 8 && bitness === 32) return 0n;
    if (n === RSP) return BigInt(WINDOW + STACK_AT + rng.below(4) * 8);
    if (PINNED[bitness].includes(n)) return BigInt(WINDOW + 0x80 + rng.below(40) * 16);
    return BigInt.asUintN(bitness, interestingValue(rng));
  });
  const flags = (rng.u32() & 0x8d5) | (rng.chance(1, 4) ? 0x400 : 0);
  return { bytes: new Uint8Array(), gprs, flags, memory, fx: randomFx(rng, lanes, scale) };
}

const LONGEST = 50;
const CODE_LIMIT = 1000;

/** Sequence `index` of a seed. */
export function generateSequence(pool: Pool, seed: number, index: number): Sequence {
  const bitness = pool.bitness === 64 ? 64 : 32;
  const rng = new Rng(Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca77) ^ bitness);
  const all = [...pool.flavours.keys()];
  const flavours = Array.from({ length: 1 + rng.below(3) }, () => rng.pick(all));
  const lanes = flavours.flatMap((flavour) => LANES[flavour]);
  const start = stateOf(rng, bitness, lanes);
  const length = 1 + rng.below(LONGEST);
  const items: Item[] = [];
  let bytes = 0;
  while (items.length < length && bytes < CODE_LIMIT - 64) {
    if (rng.chance(1, 14)) {
      const near = rng.chance(1, 2);
      items.push({ kind: "branch", condition: rng.below(16), near, over: 1 + rng.below(near ? 6 : 3) });
      bytes += near ? 6 : 2;
      continue;
    }
    const flavour = rng.pick(flavours);
    const control = rng.chance(1, 24) && flavour !== "integer" && flavour !== "mmx";
    const code = control
      ? controlLoad(rng, bitness, flavour !== "x87")
      : instructionOf(rng, rng.pick(pool.flavours.get(flavour) ?? []));
    if (code === undefined) continue;
    items.push({ kind: "code", bytes: code });
    bytes += code.length;
  }
  return { bitness, items, start };
}

/** The case that executes the items. */
export function assemble({ items, start }: Sequence): Case {
  const sizes = items.map((item) => (item.kind === "code" ? item.bytes.length : item.near ? 6 : 2));
  const code = items.flatMap((item, n) => {
    if (item.kind === "code") return Array.from(item.bytes);
    const distance = sizes.slice(n + 1, n + 1 + item.over).reduce((sum, size) => sum + size, 0);
    if (item.near) return [0x0f, 0x80 | item.condition, ...dwordAt(distance)];
    return [0x70 | item.condition, distance];
  });
  return { ...start, bytes: Uint8Array.from(code) };
}
