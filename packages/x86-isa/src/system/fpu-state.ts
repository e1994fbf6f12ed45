import type { DecodedInstruction } from "../decode/instruction.js";
import type { ExecutionEnvironment } from "../environment.js";
import type { CpuState } from "../state/cpu-state.js";
import {
  FX_IMAGE,
  FX_IMAGE_BYTES,
  MXCSR_MASK,
  MXCSR_RESET,
  initMxcsr,
  initX87,
  initXmm,
  isInitialX87,
  isInitialXmm,
  loadX87,
  loadXmm,
  mxcsr,
  setMxcsr,
  storeX87,
  storeXmm,
} from "../state/fx-image.js";
import { CR0, CR4, XCR0 } from "../tables/registers.js";
import { VECTOR } from "../tables/vectors.js";
import { linearAddress, readAccess, writeAccess } from "./memory.js";
import { GPR, SLOT, cr0, cr4, fault, generalProtection, is64Bit, undefinedOpcode } from "./mode.js";
import { effectiveAddress, memoryOf } from "./operands.js";

/** The XSAVE header follows the legacy region (SDM vol. 1, "XSAVE Header"). */
const XSAVE_HEADER = { XSTATE_BV: 512, XCOMP_BV: 520, RESERVED: 528, END: 576 } as const;
/** Bit of XCOMP_BV: the area has the compacted format. */
const COMPACTED = 1n << 63n;
/** MXCSR and its mask go with SSE and with AVX. */
const MXCSR_COMPONENTS = XCR0.SSE | XCR0.AVX;

/** XMM registers that an instruction sees. */
const xmmCount = (s: CpuState): number => (is64Bit(s) ? 16 : 8);

/** The memory operand of an instruction that saves or restores state, as bytes. */
class Area {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #linear: bigint;
  readonly #stackSegment: number;

  /** @throws GuestException #GP(0) where the address is not aligned, and what an access to the area meets */
  constructor(
    private readonly m: ExecutionEnvironment,
    i: DecodedInstruction,
    { size, alignment, write }: { size: number; alignment: bigint; write: boolean },
  ) {
    const operand = memoryOf(i);
    const { segment } = operand;
    this.#stackSegment = segment;
    this.#linear = linearAddress(m, segment, effectiveAddress(m, operand), size, write);
    if ((this.#linear & (alignment - 1n)) !== 0n) generalProtection();
    m.probe(this.#linear, size, write ? writeAccess(segment) : readAccess(segment));
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Bring bytes in from memory; both ends are multiples of 8. */
  read(from: number, to: number): void {
    const access = readAccess(this.#stackSegment);
    for (let at = from; at < to; at += 8) {
      this.view.setBigUint64(at, this.m.load(this.#linear + BigInt(at), 8, access), true);
    }
  }

  /** Put bytes out to memory. */
  write(from: number, to: number): void {
    const access = writeAccess(this.#stackSegment);
    for (let at = from; at < to; at += 8) {
      this.m.store(this.#linear + BigInt(at), 8, this.view.getBigUint64(at, true), access);
    }
  }

  writeX87(wide: boolean): void {
    storeX87(this.m.state, this.bytes, wide);
    this.write(0, FX_IMAGE.MXCSR);
    this.write(FX_IMAGE.ST0, FX_IMAGE.XMM0);
  }

  writeXmm(): void {
    const count = xmmCount(this.m.state);
    storeXmm(this.m.state, this.bytes, count);
    this.write(FX_IMAGE.XMM0, FX_IMAGE.XMM0 + count * 16);
  }

  writeMxcsr(): void {
    this.view.setUint32(FX_IMAGE.MXCSR, mxcsr(this.m.state), true);
    this.view.setUint32(FX_IMAGE.MXCSR_MASK, MXCSR_MASK, true);
    this.write(FX_IMAGE.MXCSR, FX_IMAGE.ST0);
  }

  /** MXCSR as the image has it; #GP(0) for a bit that it does not have. */
  mxcsr(): number {
    const value = this.view.getUint32(FX_IMAGE.MXCSR, true);
    if ((value & ~MXCSR_MASK) !== 0) generalProtection();
    return value;
  }
}

function requireFpu(s: CpuState, unavailable: bigint): void {
  if ((cr0(s) & unavailable) !== 0n) fault(VECTOR.NM);
}

/** The form with REX.W has instruction and data pointers of 64 bits. */
const wideForms = (i: DecodedInstruction): boolean => i.operandSize === 8;

const FX_OPERAND = { size: FX_IMAGE_BYTES, alignment: 16n } as const;
const savesSse = (s: CpuState): boolean => (cr4(s) & CR4.OSFXSR) !== 0n;

/** FXSAVE. Without CR4.OSFXSR the SSE part of the image stays as it is, which both vendors leave to the processor. */
export function fxsave(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const s = m.state;
  requireFpu(s, CR0.EM | CR0.TS);
  const area = new Area(m, i, { ...FX_OPERAND, write: true });
  area.writeX87(wideForms(i));
  if (!savesSse(s)) return;
  area.writeMxcsr();
  area.writeXmm();
}

export function fxrstor(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const s = m.state;
  requireFpu(s, CR0.EM | CR0.TS);
  const area = new Area(m, i, { ...FX_OPERAND, write: false });
  area.read(0, FX_IMAGE.END);
  const sse = savesSse(s);
  const value = sse ? area.mxcsr() : 0;
  loadX87(s, area.bytes, wideForms(i));
  if (!sse) return;
  setMxcsr(s, value);
  loadXmm(s, area.bytes, xmmCount(s));
}

/** XINUSE (SDM vol. 1, "Processor Tracking of XSAVE-Managed State"). */
export function componentsInUse(s: CpuState): bigint {
  return (isInitialX87(s) ? 0n : XCR0.X87) | (isInitialXmm(s, xmmCount(s)) ? 0n : XCR0.SSE);
}

/** #UD and #NM of the XSAVE instructions; returns the requested-feature bitmap. */
function requested(m: ExecutionEnvironment): bigint {
  const s = m.state;
  if ((cr4(s) & CR4.OSXSAVE) === 0n) undefinedOpcode();
  requireFpu(s, CR0.TS);
  const mask = (s.gpr(GPR.RAX) & 0xffffffffn) | ((s.gpr(GPR.RDX) & 0xffffffffn) << 32n);
  return mask & s.get64(SLOT.xcr0);
}

const XSAVE_OPERAND = { size: XSAVE_HEADER.END, alignment: 64n } as const;

/** XSAVE, and XSAVEOPT, which leaves out what is in its initial configuration. */
export function xsave(optimized: boolean) {
  return (m: ExecutionEnvironment, i: DecodedInstruction): void => {
    const s = m.state;
    const wanted = requested(m);
    const area = new Area(m, i, { ...XSAVE_OPERAND, write: true });
    const inUse = componentsInUse(s);
    const written = optimized ? wanted & inUse : wanted;
    if ((written & XCR0.X87) !== 0n) area.writeX87(wideForms(i));
    if ((written & XCR0.SSE) !== 0n) area.writeXmm();
    if ((wanted & MXCSR_COMPONENTS) !== 0n) area.writeMxcsr();
    area.read(XSAVE_HEADER.XSTATE_BV, XSAVE_HEADER.XCOMP_BV);
    const before = area.view.getBigUint64(XSAVE_HEADER.XSTATE_BV, true);
    area.view.setBigUint64(XSAVE_HEADER.XSTATE_BV, (before & ~wanted) | (inUse & wanted), true);
    area.write(XSAVE_HEADER.XSTATE_BV, XSAVE_HEADER.XCOMP_BV);
  };
}

/** XSAVEC: the compacted format, whose components here are those of the legacy region. */
export function xsavec(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const s = m.state;
  const wanted = requested(m);
  const area = new Area(m, i, { ...XSAVE_OPERAND, write: true });
  // MXCSR is part of the decision about SSE here alone.
  const written = wanted & (componentsInUse(s) | (mxcsr(s) === MXCSR_RESET ? 0n : XCR0.SSE));
  if ((written & XCR0.X87) !== 0n) area.writeX87(wideForms(i));
  if ((written & XCR0.SSE) !== 0n) {
    area.writeXmm();
    area.writeMxcsr();
  }
  area.view.setBigUint64(XSAVE_HEADER.XSTATE_BV, written, true);
  area.view.setBigUint64(XSAVE_HEADER.XCOMP_BV, wanted | COMPACTED, true);
  area.write(XSAVE_HEADER.XSTATE_BV, XSAVE_HEADER.RESERVED);
}

/** XRSTOR, of either format. */
export function xrstor(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const s = m.state;
  const wanted = requested(m);
  const area = new Area(m, i, { ...XSAVE_OPERAND, write: false });
  area.read(0, XSAVE_HEADER.END);
  const stored = area.view.getBigUint64(XSAVE_HEADER.XSTATE_BV, true);
  const layout = area.view.getBigUint64(XSAVE_HEADER.XCOMP_BV, true);
  const compacted = (layout & COMPACTED) !== 0n;
  const xcr0 = s.get64(SLOT.xcr0);
  if (compacted) {
    if ((layout & ~COMPACTED & ~xcr0) !== 0n || (stored & ~layout) !== 0n || (stored & COMPACTED) !== 0n) {
      generalProtection();
    }
  } else if ((stored & ~xcr0) !== 0n || layout !== 0n) generalProtection();
  // The standard form demands zeros up to byte 23 of the header, the compacted one to its end.
  const zeros = area.bytes.subarray(XSAVE_HEADER.RESERVED, compacted ? XSAVE_HEADER.END : XSAVE_HEADER.RESERVED + 8);
  if (zeros.some((byte) => byte !== 0)) generalProtection();

  const restored = wanted & stored;
  const loadsMxcsr = compacted ? (restored & XCR0.SSE) !== 0n : (wanted & MXCSR_COMPONENTS) !== 0n;
  const value = loadsMxcsr ? area.mxcsr() : MXCSR_RESET;
  if ((restored & XCR0.X87) !== 0n) loadX87(s, area.bytes, wideForms(i));
  else if ((wanted & XCR0.X87) !== 0n) initX87(s);
  if ((restored & XCR0.SSE) !== 0n) loadXmm(s, area.bytes, xmmCount(s));
  else if ((wanted & XCR0.SSE) !== 0n) initXmm(s, xmmCount(s));
  if (loadsMxcsr) setMxcsr(s, value);
  else if ((wanted & XCR0.SSE) !== 0n) initMxcsr(s);
}

/** XCR0, or by index 1 the components that are in use (SDM vol. 2, "XGETBV"). */
export function readExtendedControl(m: ExecutionEnvironment, index: number): bigint {
  return index === 1 ? m.readXcr(0) & componentsInUse(m.state) : m.readXcr(index);
}
