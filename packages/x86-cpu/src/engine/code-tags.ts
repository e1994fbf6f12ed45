import { EFER, ENGINE_FIELD, RFLAGS, slot, type CodeMode, type CpuState, type DecoderFeature } from "@tapvisor/x86-isa";
import { ACCESS_READ, ACCESS_WRITE, type GuestMemory } from "../paging/index.js";
import { CODE_MODE_CR0, CODE_MODE_CR4, codeMode, codeModeName } from "./code-mode.js";
import type { EngineFields } from "./engine-fields.js";

const SLOT_CS_BASE = slot("cs.base");
const SLOT_CS_LIMIT = slot("cs.limit");

/** Tags that are remembered. */
const TAGS = 1024;

/** Words of the state that decide about code mode and code addresses, with the bits of them that do. */
const MODE_WORDS: readonly (readonly [word: number, mask: number])[] = [
  [slot("cr0") >> 2, CODE_MODE_CR0],
  [slot("cr4") >> 2, CODE_MODE_CR4],
  [slot("efer") >> 2, Number(EFER.LMA)],
  [slot("flagsRest") >> 2, Number(RFLAGS.VM)],
  ...(["cs", "ds", "es", "ss"] as const).flatMap((name) => {
    const base = slot(`${name}.base`) >> 2;
    return [base, base + 2, base + 3].map((word) => [word, -1] as const);
  }),
];

const MODE_WORD = Int32Array.from(MODE_WORDS, ([word]) => word);
const MODE_MASK = Int32Array.from(MODE_WORDS, ([, mask]) => mask);

/** A code mode with the number that blocks of it go by; blocks of one instruction have the number after it. */
export interface NumberedMode {
  readonly mode: CodeMode;
  readonly number: number;
}

/**
 * What the interpreter looks blocks and data up by: the tag of the code in force, and the TLB arrays of the privilege. A
 * tag stands for all that a block found by its RIP depends on: generation of the TLB, code mode, segment.
 */
export class CodeTags {
  /** The code mode in force; none before the first {@link enter}. */
  mode: NumberedMode | undefined;
  readonly #modes = new Map<string, NumberedMode>();
  readonly #tags = new Map<number | string, number>();
  #newest = 0;

  // --- what the tag in force was made from
  #generation = -1;
  #user = false;
  #alignmentChecked = false;
  #single = false;
  readonly #signature = new Int32Array(MODE_WORDS.length).fill(-1);

  constructor(
    private readonly state: CpuState,
    private readonly guest: GuestMemory,
    private readonly fields: EngineFields,
    private readonly feature: (name: DecoderFeature) => boolean,
  ) {}

  /** A translation for fetches has been dropped since the tag was made, or the address space is another. */
  get stale(): boolean {
    return this.#generation !== this.guest.tlb.generation(this.guest.user);
  }

  /**
   * Set the fields of the engine from the state.
   *
   * @param single blocks of one instruction are wanted
   */
  enter(single: boolean): void {
    const { user, tlb, alignmentChecked } = this.guest;
    const unchanged =
      user === this.#user &&
      single === this.#single &&
      tlb.generation(user) === this.#generation &&
      alignmentChecked === this.#alignmentChecked;
    const signatureChanged = this.#signatureChanged();
    if (!signatureChanged && unchanged) return;
    this.#alignmentChecked = alignmentChecked;
    this.#user = user;
    this.#single = single;
    const entry = this.mode === undefined || signatureChanged ? this.#findMode() : this.mode;
    this.mode = entry;
    const generation = (this.#generation = tlb.generation(user));
    const key = this.#key(generation, entry);
    let tag = this.#tags.get(key);
    if (tag === undefined) {
      // Most generations never come back.
      if (this.#tags.size >= TAGS) this.#tags.clear();
      tag = ++this.#newest;
      this.#tags.set(key, tag);
    }
    this.fields.set32(ENGINE_FIELD.tag, tag);
    // The slow path looks at alignment.
    const none = alignmentChecked ? tlb.emptyArrayOffset : undefined;
    this.fields.set32(ENGINE_FIELD.readTlb, none ?? tlb.arrayOffset(ACCESS_READ, user));
    this.fields.set32(ENGINE_FIELD.writeTlb, none ?? tlb.arrayOffset(ACCESS_WRITE, user));
  }

  /** No block is found by a tag any more; the next {@link enter} makes a new one. */
  clear(): void {
    this.#tags.clear();
    this.#generation = -1;
  }

  /** What a tag stands for, as a number unless CS is out of the ordinary: strings are slow to make. */
  #key(generation: number, { mode, number }: NumberedMode): number | string {
    const plain = (generation * 0x1_0000 + number) * 2 + (this.#single ? 1 : 0);
    if (mode.bitness === 64) return plain;
    const { state } = this;
    const limit = state.get32(SLOT_CS_LIMIT);
    const base = state.get32(SLOT_CS_BASE);
    return base === 0 && limit === 0xffff_ffff ? plain : `${plain},${base},${limit}`;
  }

  #findMode(): NumberedMode {
    const mode = codeMode(this.state, this.feature);
    const name = codeModeName(mode);
    let entry = this.#modes.get(name);
    if (entry === undefined) {
      entry = { mode, number: this.#modes.size * 2 };
      this.#modes.set(name, entry);
    }
    return entry;
  }

  /** Has anything changed that the code mode is made of? Remembers what it is now. */
  #signatureChanged(): boolean {
    const { words } = this.state;
    const signature = this.#signature;
    let changed = false;
    for (let i = 0; i < MODE_WORD.length; i++) {
      const word = (words[MODE_WORD[i] as number] as number) & (MODE_MASK[i] as number);
      if (signature[i] !== word) {
        signature[i] = word;
        changed = true;
      }
    }
    return changed;
  }
}
