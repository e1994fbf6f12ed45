import {
  CpuState,
  GuestException,
  PAGE_FAULT,
  SEGMENT_NAMES,
  STATE_BYTES,
  VECTOR,
  slot,
  type AccessSize,
  type Bitness,
  type CodeMode,
  type ExecutionEnvironment,
  type MemoryAccess,
} from "../../src/index.js";
import { CODE, CODE_BYTES, CODE_FILLER, CODE_OFFSET, DATA_END, DATA_START, WINDOW, type Case } from "./layout.js";
import { loadFx, saveFx } from "./fxsave.js";
import { gprCount, startIp, type Kind, type Origin, type Outcome } from "./program.js";

const DATA_BYTES = DATA_END - DATA_START;
const TF = 0x100n;
const IF = 0x202n;
const KEPT_FLAGS = 0xcd5n;

const RIP = slot("rip");
const CR0 = slot("cr0");
const CR4 = slot("cr4");
const XCR0 = slot("xcr0");
const EFER = slot("efer");
/** OSFXSR, OSXMMEXCPT and OSXSAVE, as every operating system sets them. */
const USER_CR4 = 0x4_0600n;

const refuse = (what: string): never => {
  throw new Error(`an instruction of user mode asked the machine for ${what}`);
};

/** A machine that has the recorder's data pages and its page of code, and nothing else. */
export class VectorEnvironment implements ExecutionEnvironment {
  readonly state = new CpuState();
  readonly #bytes = new Uint8Array(DATA_BYTES + CODE_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);
  /** From `DATA_START` to `DATA_END`. */
  readonly memory = this.#bytes.subarray(0, DATA_BYTES);
  readonly #code = this.#bytes.subarray(DATA_BYTES);

  #at(linear: bigint, size: number, write: boolean, stack = false): number {
    if (BigInt.asUintN(64, BigInt.asIntN(48, linear)) !== linear) {
      throw new GuestException(stack ? VECTOR.SS : VECTOR.GP, 0);
    }
    const last = linear + BigInt(size - 1);
    if (linear >= DATA_START && last < DATA_END) return Number(linear) - DATA_START;
    const inCode = linear >= CODE && linear < CODE + CODE_BYTES;
    if (inCode && !write && last < CODE + CODE_BYTES) return Number(linear) - CODE + DATA_BYTES;
    throw new GuestException(
      VECTOR.PF,
      PAGE_FAULT.U | (write ? PAGE_FAULT.W : 0) | (inCode && write ? PAGE_FAULT.P : 0),
      linear,
    );
  }

  load(linear: bigint, size: AccessSize, access: MemoryAccess): bigint {
    const at = this.#at(linear, size, access.willWrite === true, access.stack);
    if (size === 1) return BigInt(this.#view.getUint8(at));
    if (size === 2) return BigInt(this.#view.getUint16(at, true));
    if (size === 4) return BigInt(this.#view.getUint32(at, true));
    if (size === 16) return this.#view.getBigUint64(at, true) | (this.#view.getBigUint64(at + 8, true) << 64n);
    return this.#view.getBigUint64(at, true);
  }

  store(linear: bigint, size: AccessSize, value: bigint, access: MemoryAccess): void {
    const at = this.#at(linear, size, true, access.stack);
    if (size === 1) this.#view.setUint8(at, Number(value));
    else if (size === 2) this.#view.setUint16(at, Number(value), true);
    else if (size === 4) this.#view.setUint32(at, Number(value), true);
    else {
      this.#view.setBigUint64(at, BigInt.asUintN(64, value), true);
      if (size === 16) this.#view.setBigUint64(at + 8, value >> 64n, true);
    }
  }

  probe(linear: bigint, size: number, access: MemoryAccess): void {
    this.#at(linear, size, access.write, access.stack);
  }
  in = () => refuse("a port");
  out = () => refuse("a port");
  stringIo = () => refuse("a port");
  cpuid = () => refuse("CPUID");
  readMsr = () => refuse("an MSR");
  writeMsr = () => refuse("an MSR");
  readTsc = () => refuse("the TSC");
  readPmc = () => refuse("a performance counter");
  readXcr = (): bigint => 3n;
  writeXcr = () => refuse("XCR0");
  readControl = () => refuse("a control register");
  writeControl = () => refuse("a control register");
  clearTaskSwitched = () => refuse("CR0");
  taskSwitched = () => refuse("CR0");
  loadMachineStatusWord = () => refuse("CR0");
  readDebug = () => refuse("a debug register");
  writeDebug = () => refuse("a debug register");
  descriptorTable = () => refuse("a descriptor table");
  precheck = (): void => undefined;
  invalidatePage = () => refuse("the TLB");
  invalidatePcid = () => refuse("the TLB");
  writeBackCaches = () => refuse("the caches");
  halt = () => refuse("a halt");
  pause = (): void => undefined;
  monitor = () => refuse("MONITOR");
  mwait = () => refuse("MWAIT");
  random = () => refuse("a random number");
  virtualization = () => refuse("virtualization");
  resumeFromSmm = () => refuse("SMM");
  softwareInterrupt = () => refuse("an interrupt");
  interruptReturn = () => refuse("IRET");
  taskSwitch = () => refuse("a task switch");
  modeChanged = (): void => undefined;

  /** State and memory of a case. */
  setUp(c: Case, bitness: Bitness, origin: Origin, kind: Kind = "stepped"): void {
    setUpState(this.state, c, bitness, origin, kind);
    this.memory.fill(0);
    this.memory.set(c.memory, WINDOW - DATA_START);
    this.#code.fill(CODE_FILLER);
    this.#code.set(c.bytes, CODE_OFFSET);
  }
}

/** The state of a case, as the operating system that ran the recorder has it for a user program. */
export function setUpState(state: CpuState, c: Case, bitness: Bitness, origin: Origin, kind: Kind = "stepped"): void {
  new Uint8Array(state.buffer, state.base, STATE_BYTES).fill(0);
  c.gprs.forEach((value, i) => {
    state.setGpr(i, value);
  });
  state.rflags = BigInt(c.flags) | IF | (kind === "stepped" ? TF : 0n);
  state.set64(RIP, startIp(bitness));
  state.set64(CR0, 0x8000_0033n);
  state.set64(CR4, USER_CR4 | (bitness === 64 ? 0x20n : 0n));
  state.set64(XCR0, 3n);
  state.set64(EFER, bitness === 64 ? 0xd01n : 0n);
  loadFx(state, c.fx);
  SEGMENT_NAMES.slice(0, 6).forEach((name, i) => {
    const code = name === "cs";
    const big = bitness === 64 && code ? 1 << 13 : bitness === 16 && code ? 0 : 1 << 14;
    state.setSegment(name, {
      selector: origin.selectors[i] ?? 0,
      base: code && bitness === 16 ? BigInt(CODE) : 0n,
      limit: code && bitness === 16 ? 0xffff : 0xffff_ffff,
      rights: (code ? 0xfb : 0xf3) | big | (1 << 15),
    });
  });
}

const before = new Uint8Array(DATA_BYTES);
const beforeWords = new Uint32Array(before.buffer);

/**
 * The outcome as the recorder would have written it.
 *
 * @param memory the bytes from `DATA_START` to `DATA_END`
 */
export function outcomeOf(
  state: CpuState,
  memory: Uint8Array,
  c: Case,
  bitness: Bitness,
  vector: number | undefined,
): Outcome {
  const changes: [number, number][] = [];
  before.set(c.memory, WINDOW - DATA_START);
  // Words first: nearly all of them are as they were.
  const words = new Uint32Array(memory.buffer, memory.byteOffset, memory.byteLength >> 2);
  for (let w = 0; w < words.length; w++) {
    if (words[w] === beforeWords[w]) continue;
    for (let i = w * 4; i < w * 4 + 4; i++) {
      const after = memory[i] ?? 0;
      if (after !== before[i]) changes.push([i + DATA_START, after]);
    }
  }
  return {
    vector,
    flags: Number(state.rflags & KEPT_FLAGS),
    ip: state.get64(RIP),
    gprs: Array.from({ length: gprCount(bitness) }, (_, i) => state.gpr(i)),
    fx: saveFx(state),
    memory: changes,
  };
}

/** The mode of the recorder's code. In 16-bit code the code segment has a base and a limit. */
export const vectorMode = (bitness: Bitness): CodeMode => ({
  bitness,
  stackBytes: bitness === 64 ? 8 : 4,
  flat: bitness !== 16,
  virtual8086: false,
  protectedMode: true,
});
