import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from "../../packages/x86-isa/src/decode/iced.js";
import { GPR_NAMES, SEGMENT_RIGHTS, slot } from "../../packages/x86-isa/src/index.js";
import { hexBytes } from "../../packages/x86-isa/test/vectors/compare.js";
import { Rng } from "../../packages/x86-isa/test/vectors/rng.js";
import { randomCode } from "./engines/code.js";
import { EngineRig, SLOT_RIP } from "./engines/rig.js";
import { chooseSetting, describeSetting, MODES, writeStart, type ModeName, type Setting } from "./engines/start.js";
import { AT, CODE_BYTES, writeTables } from "./engines/tables.js";

export interface EngineFuzzOptions {
  readonly seed: number;
  /** Guests; each runs some twenty programs. */
  readonly cases: number;
  /** The first guest's number: to run one again that differed. */
  readonly first?: number;
  /** Stop after so many that differ. */
  readonly mismatches?: number;
}

export interface EngineFuzzResult {
  readonly guests: number;
  readonly instructions: number;
  readonly faults: number;
  readonly mismatches: number;
  /** Instructions by mode. */
  readonly modes: ReadonlyMap<ModeName, number>;
}

type Print = (line: string) => void;

const PROGRAMS = 20;
const LONGEST_PROGRAM = 120;

/** One guest: its memory, and the programs that run in it one after another. */
interface Guest {
  readonly setting: Setting;
  readonly image: Uint8Array;
  readonly cr3: number;
  readonly programs: readonly { readonly seed: number; readonly length: number }[];
}

function generateGuest(seed: number, index: number): Guest {
  const rng = new Rng(Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x27d4eb2f));
  const setting = chooseSetting(rng);
  const long = setting.mode === "long" || setting.mode === "compatibility";
  const { image, cr3 } = writeTables(rng, {
    long,
    paging: setting.paging,
    user: setting.cpl === 3,
    noExecute: setting.noExecute,
  });
  randomCode(rng, image.subarray(AT.CODE, AT.CODE + CODE_BYTES), setting.mode === "long");
  const programs = Array.from({ length: PROGRAMS }, () => ({
    seed: rng.u32(),
    length: 1 + rng.below(LONGEST_PROGRAM),
  }));
  return { setting, image, cr3, programs };
}

/** The instruction at RIP, where its page is mapped as it is. */
function instructionAt(rig: EngineRig): string {
  const { state } = rig;
  const rights = state.get32(slot("cs.rights"));
  const long = (state.get32(slot("efer")) & 0x400) !== 0 && (rights & SEGMENT_RIGHTS.L) !== 0;
  const bitness = long ? 64 : (rights & SEGMENT_RIGHTS.DB) !== 0 ? 32 : 16;
  const linear = Number(BigInt.asUintN(32, state.get64(SLOT_RIP) + (long ? 0n : state.get64(slot("cs.base")))));
  if (linear + 15 > rig.ram.length) return `at 0x${linear.toString(16)}, outside memory`;
  const bytes = rig.ram.slice(linear, linear + 15);
  const decoder = new Decoder(bitness, bytes, DecoderOptions.None);
  const formatter = new Formatter(FormatterSyntax.Nasm);
  const instruction = decoder.decode();
  const text = `${formatter.format(instruction)} [${hexBytes(bytes.subarray(0, Math.max(1, instruction.length)))}], ${bitness}-bit code, at 0x${linear.toString(16)}`;
  instruction.free();
  formatter.free();
  decoder.free();
  return text;
}

function registers({ state }: EngineRig): string {
  const gprs = GPR_NAMES.map((name, n) => `${name} ${state.gpr(n).toString(16)}`).join(" ");
  const segments = (["cs", "ss", "ds", "es", "fs", "gs"] as const).map((name) => {
    const { selector, base, limit, rights } = state.segment(name);
    return `${name} ${selector.toString(16)}:${base.toString(16)}+${limit.toString(16)}/${rights.toString(16)}`;
  });
  const control = (["rip", "cr0", "cr2", "cr3", "cr4", "efer", "dr7"] as const).map(
    (name) => `${name} ${state.get64(slot(name)).toString(16)}`,
  );
  return [gprs, `rflags ${state.rflags.toString(16)}`, ...segments, ...control].join(" ");
}

const TABLE_BYTES = 0x4000;
/** Accessed and dirty bits of each eight bytes. */
const WALKED = 0x60;

/** The guest has reached its own page tables through a large page, and changed a translation. */
function tablesChanged(ram: Uint8Array, image: Uint8Array): boolean {
  for (let at: number = AT.TABLES; at < AT.TABLES + TABLE_BYTES; at++)
    if ((((ram[at] ?? 0) ^ (image[at] ?? 0)) & ((at & 3) === 0 ? ~WALKED : ~0)) !== 0) return true;
  return false;
}

/** Runs the same guests on the interpreter and on the evaluator alone. */
class EngineFuzzer {
  readonly #quick = new EngineRig("interpreter");
  readonly #slow = new EngineRig("evaluator");
  readonly modes = new Map<ModeName, number>(MODES.map((mode) => [mode, 0]));
  faults = 0;

  get instructions(): number {
    return this.#slow.retired;
  }

  /** @returns what differs; empty if nothing does */
  run(guest: Guest, upTo = PROGRAMS, lastLength?: number): string[] {
    const { setting, image, cr3, programs } = guest;
    const rigs = [this.#quick, this.#slow];
    for (const rig of rigs) rig.fill(image);
    const before = this.#slow.retired;
    for (const [n, { seed, length }] of programs.slice(0, upTo).entries()) {
      const limit = n === upTo - 1 ? (lastLength ?? length) : length;
      const ends = rigs.map((rig) => {
        rig.start((state) => {
          writeStart(new Rng(seed), state, setting, cr3);
        });
        return rig.run(limit);
      });
      this.faults += (ends[1]?.match(/\//g)?.length ?? 0) >> 1;
      // Which of an old and a new translation is used until it is invalidated is not settled, and the engines differ in it.
      if (rigs.some((rig) => tablesChanged(rig.ram, image))) break;
      if (ends[0] === ends[1] && this.#quick.sameState(this.#slow)) continue;
      const found = ends[0] === ends[1] ? [] : [`${ends[0]} INSTEAD OF ${ends[1]}`];
      return [`program ${n}, ${limit} instructions`, ...found, ...this.#quick.differences(this.#slow)];
    }
    const mode = this.modes.get(setting.mode) ?? 0;
    this.modes.set(setting.mode, mode + this.#slow.retired - before);
    if (rigs.some((rig) => tablesChanged(rig.ram, image))) return [];
    return this.#quick.memoryDifferences(this.#slow);
  }

  /** How few instructions it takes, and which one it is. */
  explain(guest: Guest, print: Print): void {
    let upTo = PROGRAMS;
    for (let n = 1; n <= PROGRAMS; n++) {
      if (this.run(guest, n).length > 0) {
        upTo = n;
        break;
      }
    }
    const whole = guest.programs[upTo - 1]?.length ?? 1;
    let length = 1;
    while (length < whole && new EngineFuzzer().run(guest, upTo, length).length === 0) length++;
    print(`  ${describeSetting(guest.setting)}, program ${upTo - 1}`);
    const before = new EngineFuzzer();
    if (length > 1) before.run(guest, upTo, length - 1);
    print(`  before: ${registers(before.#slow)}`);
    print(`  next: ${instructionAt(before.#slow)}`);
    const after = new EngineFuzzer();
    for (const line of after.run(guest, upTo, length)) print(`  ${line}`);
  }
}

/** Execute random programs in random modes on both engines, and compare all that they leave. */
export function fuzzEngines(options: EngineFuzzOptions, print: Print): EngineFuzzResult {
  const { seed, first = 0, cases, mismatches: limit = 5 } = options;
  let fuzzer = new EngineFuzzer();
  let [mismatches, guests, instructions, faults] = [0, 0, 0, 0];
  const modes = new Map<ModeName, number>();
  const settle = (): void => {
    instructions += fuzzer.instructions;
    faults += fuzzer.faults;
    for (const [mode, count] of fuzzer.modes) modes.set(mode, (modes.get(mode) ?? 0) + count);
  };
  for (let index = first; index < first + cases && mismatches < limit; index++) {
    const guest = generateGuest(seed, index);
    guests++;
    const found = fuzzer.run(guest);
    if (found.length === 0) continue;
    mismatches++;
    print(`MISMATCH --seed ${seed} --first ${index} --cases 1: interpreter instead of evaluator`);
    for (const line of found) print(`  ${line}`);
    // Narrowed on engines that have run nothing before: what takes more than one guest has to be run from an earlier one.
    new EngineFuzzer().explain(guest, print);
    settle();
    fuzzer = new EngineFuzzer();
  }
  settle();
  const share = [...modes].map(([mode, count]) => `${mode} ${count}`).join(", ");
  print(
    `seed ${seed}: ${guests} guests, ${instructions} instructions (${share}), ${faults} faults, ${mismatches} mismatches`,
  );
  return { guests, instructions, faults, mismatches, modes };
}
