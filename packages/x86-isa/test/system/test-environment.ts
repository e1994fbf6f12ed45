import {
  Assembler,
  CR0,
  CpuState,
  DR7_LOCAL,
  decode,
  deliverEvent,
  GuestException,
  cpl,
  MSR,
  readDebugRegister,
  runSystemInstruction,
  slot,
  systemHandlerId,
  writeCr0,
  writeCr3,
  writeCr4,
  writeCr8,
  writeDebugRegister,
  writeEfer,
  type AccessSize,
  type Bitness,
  type ControlRegisterModel,
  type DecodedInstruction,
  type InterruptEvent,
  type ExecutionEnvironment,
  type MemoryAccess,
  type SegmentName,
  type SlotName,
} from "../../src/index.js";

/** Addresses where the test machine keeps its tables. */
export const GDT = 0x1000n;
export const IDT = 0x2000n;
export const TSS = 0x3000n;
export const LDT = 0x4000n;
export const CODE = 0x10000n;
export const STACK = 0x20000n;
export const INNER_STACK = 0x30000n;

/** Descriptor of a flat segment from its access byte and the flags G, D/B, L, AVL (as a nibble). */
export function descriptor(access: number, flags = 0xc, base = 0, limit = 0xfffff): bigint {
  const low = (limit & 0xffff) | ((base & 0xffff) << 16);
  const high = ((base >>> 16) & 0xff) | (access << 8) | (limit & 0xf0000) | (flags << 20) | (base & 0xff000000);
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

/** Memory is a map of bytes without paging: pages in `faults` raise #PF. */
export class TestEnvironment implements ExecutionEnvironment {
  readonly state = new CpuState();
  readonly memory = new Map<bigint, number>();
  /** Page numbers that are not present. */
  readonly missing = new Set<bigint>();
  /** The CPL that the newest call of modeChanged() found. */
  modeAtChange: number | undefined;
  readonly log: string[] = [];
  readonly msrs = new Map<number, bigint>();
  readonly model: ControlRegisterModel = {
    cr4Allowed: 0x7fffffn & ~(1n << 12n) & ~(1n << 15n),
    eferAllowed: 0xd01n,
    xcr0Allowed: 7n,
    physicalAddressBits: 40,
    readPdpte: (physical) => this.load(BigInt(physical), 8),
  };
  portValue = 0;

  load(linear: bigint, size: AccessSize, access?: MemoryAccess): bigint {
    this.probe(linear, size, access ?? { write: false });
    let value = 0n;
    for (let n = size - 1; n >= 0; n--) value = (value << 8n) | BigInt(this.memory.get(linear + BigInt(n)) ?? 0);
    return value;
  }

  store(linear: bigint, size: AccessSize, value: bigint, access?: MemoryAccess): void {
    this.probe(linear, size, access ?? { write: true });
    for (let n = 0; n < size; n++) this.memory.set(linear + BigInt(n), Number((value >> BigInt(n * 8)) & 0xffn));
  }

  probe(linear: bigint, size: number, access: MemoryAccess): void {
    if (BigInt.asUintN(64, BigInt.asIntN(48, linear)) !== linear) {
      throw new GuestException(access.stack === true ? 12 : 13, 0);
    }
    for (const at of [linear, linear + BigInt(size) - 1n]) {
      if (!this.missing.has(at >> 12n)) continue;
      const user = access.system !== true && cpl(this.state) === 3 ? 4 : 0;
      throw new GuestException(14, (access.write ? 2 : 0) | user, at);
    }
  }

  in(port: number, size: 1 | 2 | 4): number {
    this.log.push(`in ${port.toString(16)} ${size}`);
    return this.portValue;
  }
  out(port: number, size: 1 | 2 | 4, value: number): void {
    this.log.push(`out ${port.toString(16)} ${size} ${value.toString(16)}`);
  }
  stringIo(port: number, size: 1 | 2 | 4, input: boolean, linear: bigint): void {
    this.log.push(`string ${input ? "in" : "out"} ${port.toString(16)} ${size} ${linear.toString(16)}`);
  }
  cpuid(leaf: number, subleaf: number): { eax: number; ebx: number; ecx: number; edx: number } {
    return { eax: leaf, ebx: subleaf, ecx: -1, edx: 7 };
  }
  readMsr(index: number): bigint {
    const value = this.msrs.get(index);
    if (value === undefined) throw new GuestException(13, 0);
    return value;
  }
  writeMsr(index: number, value: bigint): void {
    if (index === MSR.IA32_EFER) writeEfer(this.state, value, this.model);
    else this.msrs.set(index, value);
  }
  readTsc(instruction: string): bigint {
    this.log.push(instruction);
    return 0x1_0000_0002n;
  }
  readPmc(index: number): bigint {
    return BigInt(index);
  }
  readXcr(): bigint {
    return this.state.get64(slot("xcr0"));
  }
  writeXcr(index: number, value: bigint): void {
    this.log.push(`xsetbv ${index} ${value.toString(16)}`);
  }
  readControl(cr: 0 | 2 | 3 | 4 | 8): bigint {
    return this.state.get64(slot(`cr${cr}`));
  }
  writeControl(cr: number, value: bigint): void {
    if (cr === 0) writeCr0(this.state, value, this.model);
    else if (cr === 3) writeCr3(this.state, value, this.model);
    else if (cr === 4) writeCr4(this.state, value, this.model);
    else if (cr === 8) writeCr8(this.state, value);
    else this.state.set64(slot("cr2"), value);
  }
  clearTaskSwitched(): void {
    this.log.push("clts");
  }
  loadMachineStatusWord(value: number, linear?: bigint): void {
    this.log.push(`lmsw ${value.toString(16)}${linear === undefined ? "" : ` ${linear.toString(16)}`}`);
  }
  readDebug(dr: number): bigint {
    return readDebugRegister(this.state, dr);
  }
  writeDebug(dr: number, value: bigint): void {
    writeDebugRegister(this.state, dr, value);
  }
  descriptorTable(which: string): void {
    this.log.push(which);
  }
  precheck(): void {
    // Nothing intercepts here.
  }
  invalidatePage(linear: bigint): void {
    this.log.push(`invlpg ${linear.toString(16)}`);
  }
  invalidatePcid(type: bigint, pcid: bigint, linear: bigint): void {
    this.log.push(`invpcid ${type} ${pcid} ${linear.toString(16)}`);
  }
  writeBackCaches(mnemonic: string): void {
    this.log.push(mnemonic);
  }
  halt(): void {
    this.log.push("hlt");
  }
  pause(): void {
    this.log.push("pause");
  }
  monitor(linear: bigint): void {
    this.log.push(`monitor ${linear.toString(16)}`);
  }
  mwait(): void {
    this.log.push("mwait");
  }
  random(): bigint {
    return 0x1122334455667788n;
  }
  virtualization(instruction: DecodedInstruction): void {
    this.log.push(`virtualization ${instruction.length}`);
  }
  resumeFromSmm(): void {
    throw new GuestException(6);
  }
  softwareInterrupt(event: InterruptEvent): void {
    deliverEvent(this, event);
  }
  interruptReturn(phase: "begin" | "end"): void {
    this.log.push(`iret ${phase}`);
  }
  taskSwitch(selector: number, cause: string, errorCode?: number): void {
    this.log.push(`task ${selector.toString(16)} ${cause}${errorCode === undefined ? "" : ` ${errorCode}`}`);
  }
  taskSwitched(): void {
    this.set("cr0", this.get("cr0") | CR0.TS);
    this.set("dr7", this.get("dr7") & ~DR7_LOCAL);
  }
  modeChanged(): void {
    this.modeAtChange = cpl(this.state);
  }

  get(name: SlotName): bigint {
    return this.state.get64(slot(name));
  }
  set(name: SlotName, value: bigint): void {
    this.state.set64(slot(name), value);
  }
  gdt(index: number, ...descriptors: readonly bigint[]): void {
    descriptors.forEach((d, n) => this.store(GDT + BigInt((index + n) * 8), 8, d));
  }
  /** An IDT gate: type 14 interrupt, 15 trap; 6, 7, 5 the old ones. */
  gate(vector: number, selector: number, offset: bigint, type = 14, dpl = 0, ist = 0, present = true): void {
    const low = (offset & 0xffffn) | (BigInt(selector) << 16n);
    const access = BigInt((present ? 0x80 : 0) | (dpl << 5) | type);
    const raw = low | (BigInt(ist) << 32n) | (access << 40n) | (((offset >> 16n) & 0xffffn) << 48n);
    const long = (this.get("efer") & 0x400n) !== 0n;
    this.store(IDT + BigInt(vector * (long ? 16 : 8)), 8, raw);
    if (long) this.store(IDT + BigInt(vector * 16 + 8), 8, offset >> 32n);
  }

  /** Execute one system instruction at `currentRip`; gives the instruction pointer after it. */
  run(write: (a: Assembler) => void): bigint {
    const long = (this.get("efer") & 0x400n) !== 0n;
    const rights = this.state.segment("cs").rights;
    const bitness: Bitness = long && (rights & 0x2000) !== 0 ? 64 : (rights & 0x4000) !== 0 ? 32 : 16;
    const a = new Assembler(bitness);
    write(a);
    const ip = this.get("rip");
    const { bytes } = a.assemble(ip);
    const result = decode(bytes, ip, bitness);
    if (result.kind !== "instruction") throw new Error(`the test's instruction is ${result.kind}`);
    const id = systemHandlerId(result.instruction);
    if (id === undefined) throw new Error("the test's instruction is no system instruction");
    this.set("currentRip", ip);
    this.set("nextRip", ip + BigInt(result.instruction.length));
    runSystemInstruction(this, id, result.instruction);
    return this.get("nextRip");
  }
}

const segment = (
  m: TestEnvironment,
  name: SegmentName,
  selector: number,
  rights: number,
  base = 0n,
  limit = 0xffffffff,
) => m.state.setSegment(name, { selector, base, limit, rights });

/** Selectors of the descriptors that {@link protectedMachine} and {@link longMachine} have. */
export const SEL = {
  CODE0: 0x08,
  DATA0: 0x10,
  CODE3: 0x1b,
  DATA3: 0x23,
  TSS: 0x28,
  CONFORMING: 0x38,
  READONLY: 0x40,
  NOT_PRESENT: 0x48,
  LDT: 0x50,
  CODE64_3: 0x63,
} as const;

function common(m: TestEnvironment): void {
  m.set("gdtr.base", GDT);
  m.state.set32(slot("gdtr.limit"), 0xfff);
  m.set("idtr.base", IDT);
  m.state.set32(slot("idtr.limit"), 0xfff);
  m.state.rflags = 2n;
  m.set("rip", CODE);
  m.set("rsp", STACK);
  m.set("cr0", 0x80000031n);
  m.set("dr6", 0xffff0ff0n);
  m.set("dr7", 0x400n);
  segment(m, "tr", SEL.TSS, 0x8b, TSS, 0x2fff);
  segment(m, "ldtr", 0, 0x10000);
}

function setPrivilege(m: TestEnvironment, level: number, codeRights: number): void {
  const dpl = level << 5;
  segment(m, "cs", level === 3 ? SEL.CODE3 : SEL.CODE0, codeRights | dpl);
  for (const name of ["ss", "ds", "es", "fs", "gs"] as const) {
    segment(m, name, level === 3 ? SEL.DATA3 : SEL.DATA0, 0xc093 | dpl);
  }
}

/** 32-bit protected mode with flat segments. */
export function protectedMachine(level = 0): TestEnvironment {
  const m = new TestEnvironment();
  common(m);
  setPrivilege(m, level, 0xc09b);
  m.gdt(1, descriptor(0x9a), descriptor(0x92), descriptor(0xfa), descriptor(0xf2));
  m.gdt(5, descriptor(0x8b, 0, Number(TSS), 0x2fff));
  m.gdt(7, descriptor(0x9e), descriptor(0x90), descriptor(0x12), descriptor(0x82, 0, Number(LDT), 0xff));
  m.store(TSS + 4n, 4, INNER_STACK);
  m.store(TSS + 8n, 2, BigInt(SEL.DATA0));
  return m;
}

/** 64-bit mode. */
export function longMachine(level = 0): TestEnvironment {
  const m = new TestEnvironment();
  common(m);
  m.set("efer", 0xd01n);
  m.set("cr4", 0x20n);
  setPrivilege(m, level, 0xa09b);
  m.gdt(1, descriptor(0x9a, 0xa), descriptor(0x92), descriptor(0xfa), descriptor(0xf2));
  m.gdt(5, descriptor(0x8b, 0, Number(TSS), 0x2fff), 0n);
  m.gdt(7, descriptor(0x9e, 0xa), descriptor(0x90), descriptor(0x12));
  m.gdt(10, descriptor(0x82, 0, Number(LDT), 0xff), 0n, descriptor(0xfa, 0xa));
  m.store(TSS + 4n, 8, INNER_STACK);
  m.store(TSS + 0x24n, 8, 0x50000n);
  if (level === 3) segment(m, "cs", SEL.CODE64_3, 0xa0fb);
  return m;
}

/** Real mode. */
export function realMachine(): TestEnvironment {
  const m = new TestEnvironment();
  common(m);
  m.set("cr0", 0x10n);
  m.set("idtr.base", 0n);
  m.state.set32(slot("idtr.limit"), 0x3ff);
  m.set("rip", 0x100n);
  m.set("rsp", 0x8000n);
  for (const name of ["cs", "ss", "ds", "es", "fs", "gs"] as const) segment(m, name, 0x1000, 0x93, 0x10000n, 0xffff);
  return m;
}

/** Virtual-8086 mode. */
export function virtual8086Machine(iopl = 0): TestEnvironment {
  const m = protectedMachine();
  for (const name of ["cs", "ss", "ds", "es", "fs", "gs"] as const) segment(m, name, 0x1000, 0xf3, 0x10000n, 0xffff);
  m.set("rip", 0x100n);
  m.set("rsp", 0x8000n);
  m.state.rflags = 0x20002n | BigInt(iopl << 12);
  return m;
}

/** The fault that `act` ends with, as `[vector, errorCode]`; fails if there is none, or if the state changed. */
export function faultOf(m: TestEnvironment, act: () => unknown): [number, number | undefined] {
  const before = new Uint8Array(m.state.buffer.slice(0));
  const memory = new Map(m.memory);
  try {
    act();
  } catch (error) {
    if (!(error instanceof GuestException)) throw error;
    const after = new Uint8Array(m.state.buffer.slice(0));
    for (const name of ["currentRip", "nextRip"] as const) {
      before.fill(0, slot(name), slot(name) + 8);
      after.fill(0, slot(name), slot(name) + 8);
    }
    if (before.some((byte, n) => after[n] !== byte)) throw new Error("a fault changed the state");
    for (const [at, byte] of m.memory) {
      if ((memory.get(at) ?? 0) !== byte) throw new Error(`a fault changed memory at ${at.toString(16)}`);
    }
    return [error.vector, error.errorCode];
  }
  throw new Error("there was no fault");
}
