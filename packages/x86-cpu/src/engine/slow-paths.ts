import {
  ACCESS_FLAGS,
  ENGINE_FIELD,
  StateValues,
  WILL_WRITE,
  decodeUop,
  type AccessSize,
  type ExecutionEnvironment,
  type MemoryAccess,
} from "@tapvisor/x86-isa";
import type { GuestMemory } from "../paging/index.js";
import type { BlockCache } from "./block-cache.js";
import type { EngineFields } from "./engine-fields.js";

/** Offset in a micro-operation of the high word of its constant. */
const UOP_IMM_HIGH = 12;
/** The flags in it. */
const ACCESS_STACK = Number(ACCESS_FLAGS.STACK >> 32n);
const ACCESS_SYSTEM = Number(ACCESS_FLAGS.SYSTEM >> 32n);

/**
 * What the generated interpreter calls for: memory accesses that its TLB does not serve, and rows that it has no code
 * for. Each returns 0, or 1 after a failure, which WebAssembly cannot pass on: {@link takeSignal} tells what it was.
 */
export class SlowPaths {
  readonly #view: DataView;
  /** Runs rows by their bigint meaning. */
  readonly #values: StateValues;
  #signal: unknown;

  constructor(
    buffer: ArrayBuffer,
    private readonly fields: EngineFields,
    private readonly blocks: BlockCache,
    private readonly guest: GuestMemory,
    environment: ExecutionEnvironment,
  ) {
    this.#view = new DataView(buffer);
    this.#values = new StateValues(environment);
  }

  /** What was thrown in the newest call that failed. */
  takeSignal(): unknown {
    const signal = this.#signal;
    this.#signal = undefined;
    return signal;
  }

  /** The bigint meaning of a row. */
  evaluate(uop: number): number {
    this.#begin(uop);
    try {
      this.#values.run(decodeUop(this.#view, uop));
      return 0;
    } catch (signal) {
      this.#signal = signal;
      return 1;
    } finally {
      this.blocks.running = 0;
    }
  }

  load(uop: number, sizeAndKind: number): number {
    const size = (sizeAndKind & 0xff) as AccessSize;
    const willWrite = (sizeAndKind & WILL_WRITE) !== 0;
    const { fields } = this;
    const linear = fields.get64(ENGINE_FIELD.linear);
    this.#begin(uop);
    try {
      const value = this.guest.load(linear, size, this.#access(uop, false, willWrite));
      fields.set64(ENGINE_FIELD.value, BigInt.asUintN(64, value));
      if (size === 16) fields.set64(ENGINE_FIELD.value + 8, value >> 64n);
      return 0;
    } catch (signal) {
      this.#signal = signal;
      return 1;
    } finally {
      this.blocks.running = 0;
    }
  }

  store(uop: number, size: number): number {
    const { fields } = this;
    const linear = fields.get64(ENGINE_FIELD.linear);
    let value = fields.get64(ENGINE_FIELD.value);
    if (size === 16) value |= fields.get64(ENGINE_FIELD.value + 8) << 64n;
    else value = BigInt.asUintN(size * 8, value);
    this.#begin(uop);
    try {
      this.guest.store(linear, size as AccessSize, value, this.#access(uop, true, false));
      return 0;
    } catch (signal) {
      this.#signal = signal;
      return 1;
    } finally {
      this.blocks.running = 0;
    }
  }

  /** A store to the code that is running stops it after its instruction. */
  #begin(uop: number): void {
    this.blocks.running = uop;
    this.blocks.runningBlock = this.fields.get32(ENGINE_FIELD.block);
  }

  #access(uop: number, write: boolean, willWrite: boolean): MemoryAccess {
    const flags = this.#view.getUint32(uop + UOP_IMM_HIGH, true);
    return {
      write,
      willWrite,
      stack: (flags & ACCESS_STACK) !== 0,
      system: (flags & ACCESS_SYSTEM) !== 0,
    };
  }
}
