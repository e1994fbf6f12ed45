/**
 * One hardware thread in root mode, as the generic layer sees it. A backend asks for more (`VmxProcessor`), and the
 * processor package provides it.
 */
export interface LogicalProcessor {
  /** Index of the processor in the host, from 0. */
  readonly id: number;
  readonly online: boolean;

  cpuid(leaf: number, subleaf: number): CpuidResult;
  /** RDMSR in root mode; throws `HostGeneralProtection` where the processor has no such MSR. */
  rdmsr(index: number): bigint;
  wrmsr(index: number, value: bigint): void;
  /** RDTSC in root mode. */
  rdtsc(): bigint;
  /** RDTSC as a number, exact below 2^53. */
  tsc(): number;
  readCr(cr: 0 | 2 | 3 | 4 | 8): bigint;
  writeCr(cr: 0 | 2 | 3 | 4 | 8, value: bigint): void;
  readDr(dr: 0 | 1 | 2 | 3 | 6 | 7): bigint;
  writeDr(dr: 0 | 1 | 2 | 3 | 6 | 7, value: bigint): void;
  readXcr0(): bigint;
  writeXcr0(value: bigint): void;
  readPkru(): number;
  writePkru(value: number): void;

  /**
   * The 16 general registers, two little-endian words each, in encoding order. A world switch does not save them:
   * whoever enters a guest loads and stores them here. RSP (4) is of no meaning, the VMCS or VMCB holds it.
   */
  readonly gprs: Uint32Array;
  /** The x87, MMX, SSE and AVX registers as FXSAVE/XSAVE would store them, in place. */
  saveFpu(into: Uint8Array): void;
  loadFpu(from: Uint8Array): void;

  /** A host segment register: only what save and restore around a guest needs. */
  readSegment(name: HostSegment): HostSegmentValue;
  writeSegment(name: HostSegment, value: HostSegmentValue): void;

  /** Request host interrupt `vector` on this processor: a guest that runs there exits (external-interrupt exiting). */
  raiseInterrupt(vector: number): void;
  /** Take the highest pending host interrupt without a guest (root mode with interrupts on): vector, or -1. */
  acknowledgeInterrupt(): number;
  readonly interruptPending: boolean;
  raiseNmi(): void;
  /**
   * Arm this processor's one-shot host timer: at TSC value `cycles` it raises `HOST_TIMER_VECTOR`, to the instruction,
   * also in the middle of a guest. `undefined` disarms.
   */
  setTimer(cycles: number | undefined): void;
}

/** Vector of the host's local timer interrupt, as LOCAL_TIMER_VECTOR in Linux. */
export const HOST_TIMER_VECTOR = 0xef;
/** Vector that makes a processor look at its work: RESCHEDULE_VECTOR in Linux. */
export const HOST_RESCHEDULE_VECTOR = 0xfd;

export interface CpuidResult {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

export type HostSegment = "es" | "cs" | "ss" | "ds" | "fs" | "gs" | "ldtr" | "tr" | "gdtr" | "idtr";

export interface HostSegmentValue {
  readonly selector: number;
  readonly base: bigint;
  readonly limit: number;
}

/** An RDMSR or WRMSR in root mode met a #GP: in Linux the fixup of rdmsr_safe() sees it. */
export class HostGeneralProtection extends Error {
  constructor(what: string) {
    super(`#GP(0) in root mode: ${what}`);
    this.name = "HostGeneralProtection";
  }
}

/** Is it the #GP of an access in root mode? Told by its name: a processor does not import the interface that it satisfies. */
export function isHostGeneralProtection(error: unknown): boolean {
  return error instanceof Error && error.name === "HostGeneralProtection";
}
