import {
  BLOCK_HEADER_BYTES,
  LOOKUP_ENTRY_BYTES,
  PAGE_SIZE,
  UOP_BYTES,
  encodeUop,
  encodeUops,
  unpackSystem,
  uopDefinition,
  uopNumber,
  type Bitness,
  type DecodedInstruction,
  type LiftedBlock,
  type Uop,
} from "@tapvisor/x86-isa";
import type { Ram } from "../memory/ram.js";

const STOP = uopNumber("stop");
const MOST_WAYS = 2;

/** A translated block: micro-operations in the processor's memory, and what they came from. */
export interface Block {
  /** Where its header is in the WebAssembly memory. */
  readonly address: number;
  readonly bitness: Bitness;
  /** Offset in the code segment that it was lifted at. */
  readonly ip: bigint;
  /** Bytes of its instructions. */
  readonly length: number;
  /** Of each instruction: bytes from the start of the block, and the index of its first micro-operation. */
  readonly offsets: Uint16Array;
  readonly firsts: Uint16Array;
  /** Host physical address of the first byte. */
  readonly physical: number;
  /** Of the first byte in the next page, for a block that crosses into it. */
  readonly continued: number | undefined;
  /** Bytes that lie in the first page. */
  readonly bytesInFirst: number;
  readonly system: SystemInstruction | undefined;
  /** Syntax of its last instruction, if that raises #UD because the processor does not have it. */
  readonly missing: string | undefined;
}

/** The system instruction that a block consists of. */
export interface SystemInstruction {
  readonly handler: number;
  readonly instruction: DecodedInstruction;
  readonly length: number;
  readonly long: boolean;
}

function systemInstruction({ system, uops, instructions, mode }: LiftedBlock): SystemInstruction | undefined {
  const [uop] = uops;
  const instruction = instructions[0]?.instruction;
  if (!system || uop === undefined || instruction === undefined) return undefined;
  const { handler, length } = unpackSystem(uop.imm);
  return { handler, instruction, length, long: mode.bitness === 64 };
}

/** Where a block is looked for: its first byte, the code mode, and whether it is cut to one instruction. */
export type BlockKey = number;

/** Modes that a key can tell apart. */
const MODE_LIMIT = 4096;

export function blockKey(physical: number, mode: number): BlockKey {
  return physical * MODE_LIMIT + mode;
}

/**
 * The blocks of one processor. They are found by host physical address, so that they outlive changes of the guest's
 * paging, and are dropped when a byte of theirs is written.
 */
export class BlockCache {
  readonly #blocks = new Map<BlockKey, Block>();
  readonly #byAddress = new Map<number, Block>();
  readonly #keys = new Map<Block, BlockKey>();
  readonly #byPage = new Map<number, Set<Block>>();
  readonly #view: DataView;
  #top: number;
  /** Address of the micro-operation that is being executed, or 0: a block that runs is stopped at its next boundary. */
  running = 0;
  /** Address of the block that is running. */
  runningBlock = 0;

  /**
   * @param base where translated code begins in the memory
   * @param bytes room for it
   */
  constructor(
    buffer: ArrayBuffer,
    private readonly ram: Ram,
    private readonly base: number,
    private readonly bytes: number,
  ) {
    this.#view = new DataView(buffer);
    this.#top = base;
    ram.onCodeWrite((address, length) => this.#written(address, length));
  }

  find(key: BlockKey): Block | undefined {
    return this.#blocks.get(key);
  }

  /** The block whose header is at that address; also one that has been dropped since. */
  at(address: number): Block {
    const block = this.#byAddress.get(address);
    if (block === undefined) throw new RangeError(`no block is at ${address}`);
    return block;
  }

  /** Is there room for a block of so many micro-operations? If not, {@link clear} makes some. */
  hasRoom(uops: number): boolean {
    const most = BLOCK_HEADER_BYTES + (uops + 1) * UOP_BYTES + MOST_WAYS * LOOKUP_ENTRY_BYTES;
    return this.#top + most <= this.base + this.bytes;
  }

  add(key: BlockKey, lifted: LiftedBlock, physical: number, continued: number | undefined): Block {
    const address = this.#top;
    const bytesInFirst = Math.min(lifted.length, PAGE_SIZE - (physical % PAGE_SIZE));
    const system = systemInstruction(lifted);
    const { instructions, mode, ip, length, missing } = lifted;
    const block: Block = {
      address,
      bitness: mode.bitness,
      ip,
      length,
      offsets: Uint16Array.from(instructions, ({ offset }) => offset),
      firsts: Uint16Array.from(instructions, ({ first }) => first),
      physical,
      continued,
      bytesInFirst,
      system,
      missing,
    };
    this.#view.setUint32(address, instructions.length, true);
    this.#top = this.#addLinks(lifted, encodeUops(lifted.uops, this.#view, address + BLOCK_HEADER_BYTES));
    const old = this.#blocks.get(key);
    if (old !== undefined) this.#drop(old);
    this.#blocks.set(key, block);
    this.#keys.set(block, key);
    this.#byAddress.set(address, block);
    this.#hold(physical - (physical % PAGE_SIZE), block);
    if (continued !== undefined) this.#hold(continued, block);
    return block;
  }

  /** Append the links of a block's last micro-operation, which lead nowhere yet; returns the address after them. */
  #addLinks({ uops }: LiftedBlock, at: number): number {
    const last = uops.at(-1);
    const ways = last === undefined ? 0 : (uopDefinition(last.op).ways ?? 0);
    const end = at + ways * LOOKUP_ENTRY_BYTES;
    new Uint8Array(this.#view.buffer, at, end - at).fill(0);
    return end;
  }

  /** Forget everything. */
  clear(): void {
    for (const page of this.#byPage.keys()) this.ram.releaseCode(page);
    this.#blocks.clear();
    this.#byAddress.clear();
    this.#keys.clear();
    this.#byPage.clear();
    this.#top = this.base;
  }

  /** Index of the instruction that the micro-operation at `uop` belongs to. */
  instructionAt(block: Block, uop: number): number {
    const index = (uop - block.address - BLOCK_HEADER_BYTES) / UOP_BYTES;
    const { firsts } = block;
    let found = 0;
    for (let i = 1; i < firsts.length; i++) {
      if ((firsts[i] as number) > index) break;
      found = i;
    }
    return found;
  }

  #hold(page: number, block: Block): void {
    let blocks = this.#byPage.get(page);
    if (blocks === undefined) {
      blocks = new Set();
      this.#byPage.set(page, blocks);
      this.ram.holdCode(page);
    }
    blocks.add(block);
  }

  #written(address: number, length: number): void {
    const last = address + length - 1;
    for (let page = address - (address % PAGE_SIZE); page <= last; page += PAGE_SIZE) {
      const blocks = this.#byPage.get(page);
      if (blocks === undefined) continue;
      for (const block of [...blocks]) if (overlaps(block, address, length)) this.#drop(block);
    }
  }

  /** Whoever comes back to a dropped block leaves it at once, before its first instruction. */
  #drop(block: Block): void {
    const key = this.#keys.get(block);
    if (key !== undefined && this.#blocks.get(key) === block) this.#blocks.delete(key);
    this.#keys.delete(block);
    for (const page of [block.physical - (block.physical % PAGE_SIZE), block.continued]) {
      if (page === undefined) continue;
      const blocks = this.#byPage.get(page);
      if (blocks === undefined) continue;
      blocks.delete(block);
      if (blocks.size > 0) continue;
      this.#byPage.delete(page);
      this.ram.releaseCode(page);
    }
    if (this.running !== 0 && this.runningBlock === block.address) this.#stopAfterCurrent(block);
    this.#view.setUint32(block.address, 0, true);
    this.#stopAt(block, 0, 0, 0);
  }

  /** The instruction that wrote completes; the rest of the block is fetched anew. */
  #stopAfterCurrent(block: Block): void {
    const { firsts, offsets } = block;
    const next = this.instructionAt(block, this.running) + 1;
    if (next === firsts.length) return;
    this.#stopAt(block, firsts[next] as number, offsets[next] as number, firsts.length - next);
  }

  #stopAt(block: Block, index: number, offset: number, unexecuted: number): void {
    const stop: Uop = { op: STOP, d: 0, a: 0, b: unexecuted, imm: BigInt(offset) };
    encodeUop(stop, this.#view, block.address + BLOCK_HEADER_BYTES + index * UOP_BYTES);
  }
}

function overlaps(block: Block, address: number, length: number): boolean {
  const meets = (start: number, bytes: number): boolean => address < start + bytes && start < address + length;
  if (meets(block.physical, block.bytesInFirst)) return true;
  return block.continued !== undefined && meets(block.continued, block.length - block.bytesInFirst);
}
