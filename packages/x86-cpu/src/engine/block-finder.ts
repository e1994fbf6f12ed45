import {
  GuestException,
  InstructionStream,
  MAX_INSTRUCTION_BYTES,
  PAGE_OFFSET_MASK,
  PAGE_SIZE,
  isCanonical,
  liftBlock,
  slot,
  type CodeMode,
  type CpuState,
  type LiftedBlock,
} from "@tapvisor/x86-isa";
import type { Ram } from "../memory/ram.js";
import { ACCESS_FETCH, PRIVILEGE_SUPERVISOR, PRIVILEGE_USER, type GuestMemory } from "../paging/index.js";
import { VM_EXIT } from "../vmx/vm-exit.js";
import { blockKey, type Block, type BlockCache } from "./block-cache.js";
import type { CodeTags } from "./code-tags.js";

const SLOT_RIP = slot("rip");
const SLOT_CS_BASE = slot("cs.base");
const SLOT_CS_LIMIT = slot("cs.limit");

/** Bytes of code that one block is lifted from at most. */
const CODE_WINDOW = 512;

/** Finds the block that begins at RIP: fetches as the processor does, and translates what is not known yet. */
export class BlockFinder {
  /** A fetch made the guest leave non-root operation. Whoever looks at it resets it. */
  exited = false;

  constructor(
    private readonly state: CpuState,
    private readonly guest: GuestMemory,
    private readonly ram: Ram,
    private readonly blocks: BlockCache,
    private readonly tags: CodeTags,
  ) {}

  /**
   * The block at RIP in the code mode that is in force.
   *
   * @param single a block of one instruction
   * @returns undefined where the fetch faults or exits, or meets what is no instruction
   */
  atRip(single: boolean): Block | undefined {
    const { state } = this;
    const entry = this.tags.mode;
    if (entry === undefined) return undefined;
    const { mode } = entry;
    const rip = state.get64(SLOT_RIP);
    const long = mode.bitness === 64;
    if (long && !isCanonical(rip)) return undefined;
    const linear = long ? rip : BigInt.asUintN(32, state.get64(SLOT_CS_BASE) + rip);
    const room = long ? CODE_WINDOW : state.get32(SLOT_CS_LIMIT) - Number(rip) + 1;
    // The limit is checked before the page is looked at, and marked as accessed.
    if (room < 1) return undefined;
    const physical = this.#fetch(linear);
    if (physical < 0) return undefined;
    const key = blockKey(physical, entry.number + (single ? 1 : 0));
    const known = this.blocks.find(key);
    if (known !== undefined && fits(known, rip, room)) {
      if (known.continued === undefined) return known;
      if (known.continued === this.#fetch(nextPage(linear, long))) return known;
    }
    return this.#translate({ key, physical, linear, rip, room, mode, single });
  }

  /** Host physical address to fetch from; -1 where the fetch would fault or meets no RAM. */
  #fetch(linear: bigint): number {
    const privilege = this.guest.user ? PRIVILEGE_USER : PRIVILEGE_SUPERVISOR;
    try {
      const physical = this.guest.translate(linear, ACCESS_FETCH, privilege);
      return this.ram.contains(physical, 1) ? physical : -1;
    } catch (signal) {
      if (signal === VM_EXIT) this.exited = true;
      else if (!(signal instanceof GuestException)) throw signal;
      return -1;
    }
  }

  #translate({ key, physical, linear, rip, room, mode, single }: CodePlace): Block | undefined {
    const { ram, blocks, tags } = this;
    const inPage = PAGE_SIZE - (physical % PAGE_SIZE);
    const window = Math.min(room, inPage, CODE_WINDOW);
    if (window < 1) return undefined;
    let continued: number | undefined;
    let lifted = lift(ram.view(physical, window), rip, mode, single);
    if (lifted === undefined && room > inPage && inPage < MAX_INSTRUCTION_BYTES) {
      // The first instruction may go on in the next page.
      continued = this.#fetch(nextPage(linear, mode.bitness === 64));
      if (continued < 0) return undefined;
      const bytes = new Uint8Array(Math.min(room, MAX_INSTRUCTION_BYTES));
      bytes.set(ram.view(physical, inPage));
      bytes.set(ram.view(continued, bytes.length - inPage), inPage);
      lifted = lift(bytes, rip, mode, true);
    }
    // What is no instruction, and what has not been written, is the stepper's to raise.
    if (lifted === undefined || lifted.instructions.length === 0) return undefined;
    if (!blocks.hasRoom(lifted.uops.length)) {
      blocks.clear();
      tags.clear();
      tags.enter(single);
    }
    return blocks.add(key, lifted, physical, continued);
  }
}

/** Where code is, and how it is to be translated. */
interface CodePlace {
  readonly key: number;
  readonly physical: number;
  readonly linear: bigint;
  readonly rip: bigint;
  /** Bytes up to the limit of CS. */
  readonly room: number;
  readonly mode: CodeMode;
  readonly single: boolean;
}

/** A system instruction's decoded form holds addresses relative to where it was decoded. */
function fits(block: Block, rip: bigint, room: number): boolean {
  return block.length <= room && (block.system === undefined || block.ip === rip);
}

function lift(code: Uint8Array, rip: bigint, mode: CodeMode, single: boolean): LiftedBlock | undefined {
  const stream = new InstructionStream(code, rip, mode.bitness);
  try {
    return liftBlock(() => stream.next(), rip, mode, single ? 1 : undefined);
  } finally {
    stream.free();
  }
}

/** Linear address of the page after the one that holds `linear`. */
function nextPage(linear: bigint, long: boolean): bigint {
  return BigInt.asUintN(long ? 64 : 32, (linear | BigInt(PAGE_OFFSET_MASK)) + 1n);
}
