import {
  CpuState,
  ENGINE_FIELD,
  GuestException,
  LEAVE,
  STATE_BYTES,
  StateValues,
  decodeUop,
  encodeUop,
  generateSingle,
  type ExecutionEnvironment,
  type Uop,
  type UopDefinition,
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

const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");

// Rows that are compared here touch nothing of the machine but its state.
const machineOf = (state: CpuState): ExecutionEnvironment => ({ state }) as unknown as ExecutionEnvironment;

/** Holds rows to writing values of the width that they say. */
class StrictValues extends StateValues {
  constructor(
    private readonly row: UopDefinition,
    state: CpuState,
    private readonly skipped: (count: number) => void,
  ) {
    super(machineOf(state));
  }

  override setD(value: bigint): void {
    if (value !== BigInt.asUintN(64, value))
      throw new RangeError(`${this.row.name} wrote ${value}, which is no unsigned 64-bit value`);
    super.setD(value);
  }

  override skip(count: number): void {
    this.skipped(count);
  }
}

/** Both meanings of one row, each over a state of its own that starts with the same bytes. */
export class RowHarness {
  readonly #memory = new WebAssembly.Memory({ initial: 1 });
  readonly #run: (pc: number) => number;
  #thrown: GuestException | undefined;

  constructor(readonly row: UopDefinition) {
    const module = new WebAssembly.Module(generateSingle(row, LAYOUT));
    const absent = (): number => 1;
    const instance = new WebAssembly.Instance(module, {
      host: { memory: this.#memory, load: absent, store: absent, evaluate: (pc: number) => this.#evaluate(pc) },
    });
    this.#run = instance.exports["run"] as (pc: number) => number;
  }

  /** What the generated code asks for where it has no meaning of its own. */
  #evaluate(pc: number): number {
    const { buffer } = this.#memory;
    const values = new StrictValues(this.row, new CpuState(buffer, LAYOUT.state), () => {
      throw new RangeError(`${this.row.name} skips in its bigint meaning`);
    });
    values.uop = decodeUop(new DataView(buffer), pc);
    try {
      this.row.evaluate(values);
      return 0;
    } catch (error) {
      if (!(error instanceof GuestException)) throw error;
      this.#thrown = error;
      return 1;
    }
  }

  wasm(uop: Uop, state: Uint8Array): Outcome {
    const bytes = new Uint8Array(this.#memory.buffer);
    bytes.set(state, 0);
    const view = new DataView(this.#memory.buffer);
    encodeUop(uop, view, UOP);
    const left = this.#run(UOP);
    const raised = view.getUint32(ENGINE + ENGINE_FIELD.fault, true);
    let fault: string | undefined;
    if (left === LEAVE.RAISE) {
      fault = describe(raised & 0xff, raised >= 2 ** 31 ? (raised >>> 8) & 0x7f_ffff : undefined);
    } else if (left === LEAVE.ACCESS && this.#thrown !== undefined) {
      fault = describe(this.#thrown.vector, this.#thrown.errorCode);
    }
    return { state: hex(bytes.subarray(0, STATE_BYTES)), fault, skipped: 0 };
  }

  bigint(uop: Uop, initial: Uint8Array): Outcome {
    const state = new CpuState();
    const bytes = new Uint8Array(state.buffer as ArrayBuffer);
    bytes.set(initial);
    let skipped = 0;
    let fault: string | undefined;
    const values = new StrictValues(this.row, state, (count) => {
      skipped = count;
    });
    values.uop = uop;
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
