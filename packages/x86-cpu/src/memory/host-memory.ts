import { LOOKUP_ENTRY_BYTES, PAGE_SIZE, STATE_BYTES } from "@tapvisor/x86-isa";
import { TLB_BYTES } from "../paging/tlb.js";
import { Ram } from "./ram.js";

const WASM_PAGE = 65_536;
const align = (value: number, to: number): number => Math.ceil(value / to) * to;

/** Entries of the table that the interpreter looks blocks up in; a power of two. */
export const LOOKUP_ENTRIES = 16_384;

/** Offsets within the area that one processor keeps for itself, in bytes. No physical address names it. */
export const PROCESSOR_AREA = (() => {
  const state = 0;
  /** The register state of root mode. */
  const root = align(state + STATE_BYTES, 64);
  /** What an engine keeps beside the architectural state: its own fields. */
  const engine = align(root + STATE_BYTES, PAGE_SIZE);
  const tlb = engine + PAGE_SIZE;
  /** Where the interpreter looks blocks up. */
  const blocks = align(tlb + TLB_BYTES, WASM_PAGE);
  const uops = blocks + LOOKUP_ENTRIES * LOOKUP_ENTRY_BYTES;
  /** Room for translated micro-operations. */
  const bytes = uops + 8 * 1024 * 1024;
  return { state, root, engine, tlb, blocks, uops, bytes: align(bytes, WASM_PAGE) } as const;
})();

/** Largest RAM: a WebAssembly memory has 4 GiB at most, and the processors' areas are part of it. */
const WASM_MEMORY_LIMIT = 65_536 * WASM_PAGE;

/**
 * The one WebAssembly memory of a host: an area for each processor, then the RAM. It is allocated whole and never
 * grows, because growing detaches every view.
 */
export class HostMemory {
  readonly memory: WebAssembly.Memory;
  readonly ram: Ram;

  /**
   * @param ramBytes a multiple of 64 KiB; with the processors' areas at most 4 GiB
   * @param processors count of logical processors, at least 1
   */
  constructor(
    ramBytes: number,
    readonly processors: number,
  ) {
    if (!Number.isInteger(processors) || processors < 1) {
      throw new RangeError(`processors: ${processors} is not a positive count`);
    }
    const ramBase = processors * PROCESSOR_AREA.bytes;
    const limit = WASM_MEMORY_LIMIT - ramBase;
    if (!Number.isInteger(ramBytes / WASM_PAGE) || ramBytes <= 0 || ramBytes > limit) {
      throw new RangeError(`ramBytes: ${ramBytes} must be a positive multiple of ${WASM_PAGE} of at most ${limit}`);
    }
    const pages = (ramBase + ramBytes) / WASM_PAGE;
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.ram = new Ram(this.memory.buffer, ramBase, ramBytes);
  }

  /** Offset of a processor's area in the memory. */
  areaOf(processor: number): number {
    if (!Number.isInteger(processor) || processor < 0 || processor >= this.processors) {
      throw new RangeError(`processor ${processor} does not exist: there are ${this.processors}`);
    }
    return processor * PROCESSOR_AREA.bytes;
  }
}
