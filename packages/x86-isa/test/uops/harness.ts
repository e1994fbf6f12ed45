import {
  CpuState,
  ENGINE_FIELD,
  GuestException,
  LEAVE,
  STATE_BYTES,
  encodeUop,
  generateSingle,
  slot,
  type Machine,
  type Uop,
  type UopDefinition,
  type UopValues,
} from "../../src/index.js";

const ENGINE = 8192;
const UOP = 12_288;
const LAYOUT = { state: 0, engine: ENGINE, lookup: 0, lookupEntries: 16, tlbEntries: 16 } as const;

export interface Outcome {
  /** The whole architectural state, as hexadecimal. */
  readonly state: string;
  /** Vector and error code of an exception. */
  readonly fault: string | undefined;
  readonly skipped: number;
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Both meanings of one row, each over a state of its own that starts with the same bytes. */
export class RowHarness {
  readonly #memory = new WebAssembly.Memory({ initial: 1 });
  readonly #run: (pc: number) => number;

  constructor(readonly row: UopDefinition) {
    const module = new WebAssembly.Module(generateSingle(row, LAYOUT));
    const absent = (): number => 1;
    const instance = new WebAssembly.Instance(module, {
      host: { memory: this.#memory, load: absent, store: absent },
    });
    this.#run = instance.exports["run"] as (pc: number) => number;
  }

  wasm(uop: Uop, state: Uint8Array): Outcome {
    const bytes = new Uint8Array(this.#memory.buffer);
    bytes.set(state, 0);
    const view = new DataView(this.#memory.buffer);
    encodeUop(uop, view, UOP);
    const left = this.#run(UOP);
    const fault = view.getUint32(ENGINE + ENGINE_FIELD.fault, true);
    return {
      state: hex(bytes.subarray(0, STATE_BYTES)),
      fault:
        left === LEAVE.RAISE
          ? describe(fault & 0xff, fault >= 2 ** 31 ? (fault >>> 8) & 0x7f_ffff : undefined)
          : undefined,
      skipped: 0,
    };
  }

  bigint(uop: Uop, initial: Uint8Array): Outcome {
    const state = new CpuState();
    const bytes = new Uint8Array(state.buffer as ArrayBuffer);
    bytes.set(initial);
    let skipped = 0;
    let fault: string | undefined;
    const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
    const values: UopValues = {
      // Rows that are compared here touch nothing of the machine but its state.
      machine: { state } as unknown as Machine,
      uop,
      a: () => state.get64(uop.a),
      b: () => state.get64(uop.b),
      d: () => state.get64(uop.d),
      imm: () => u64(uop.imm),
      n: () => uop.b,
      setD: (value) => {
        if (value !== u64(value))
          throw new RangeError(`${this.row.name} wrote ${value}, which is no unsigned 64-bit value`);
        state.set64(uop.d, value);
      },
      va: () => 0n,
      vb: () => 0n,
      vd: () => 0n,
      setVD: () => undefined,
      get: (field) => state.get64(slot(field)),
      set: (field, value) => state.set64(slot(field), value),
      skip: (count) => {
        skipped = count;
      },
      system: () => undefined,
    };
    try {
      this.row.evaluate(values);
    } catch (error) {
      if (!(error instanceof GuestException)) throw error;
      fault = describe(error.vector, error.errorCode);
    }
    return { state: hex(bytes), fault, skipped };
  }
}

const describe = (vector: number, errorCode: number | undefined): string => `#${vector}(${errorCode ?? ""})`;
