import { CR4, CPUID, VECTOR } from "@tapvisor/x86-isa";
import {
  type DebugRegs, type DescriptorTable, GUESTDBG, KvmError, REG, type Regs, REQUEST, SREG, type Sreg, type Sregs,
} from "../contract/index.js"; // prettier-ignore
import { cpuidHas } from "../cpuid/features.js";
import { updateCpuid } from "../cpuid/update.js";
import { queueException, queueInterrupt } from "../events/exceptions.js";
import { mmuResetContext } from "../mmu/context.js";
import { loadPdptrs } from "../mmu/pdptrs.js";
import { setApicBaseOnly } from "../msr/apic-base.js";
import { makeRequest } from "../requests.js";
import { updateCr8Intercept } from "../irqchip/cr8.js";
import { isResetBootProcessor, type VcpuState } from "../state/vcpu-state.js";
import { registerRead, registerWrite, ripRead } from "./cache.js";
import { getCr8, isLongMode, isPae, isProtectedMode, readCr0, readCr3, readCr4 } from "./control.js";
import { updateDr0123, updateDr6, updateDr7 } from "./debug.js";
import { getRflags, setRflags } from "./flags.js";
import { getSegment, setSegment } from "./segments.js";
import { setCr8 } from "./set-control.js";

const GPRS = [
  ["rax", REG.RAX], ["rbx", REG.RBX], ["rcx", REG.RCX], ["rdx", REG.RDX], ["rsi", REG.RSI], ["rdi", REG.RDI],
  ["rsp", REG.RSP], ["rbp", REG.RBP], ["r8", REG.R8], ["r9", REG.R9], ["r10", REG.R10], ["r11", REG.R11],
  ["r12", REG.R12], ["r13", REG.R13], ["r14", REG.R14], ["r15", REG.R15], ["rip", REG.RIP],
] as const; // prettier-ignore

const SEGMENTS = [
  ["cs", SREG.CS], ["ds", SREG.DS], ["es", SREG.ES], ["fs", SREG.FS], ["gs", SREG.GS], ["ss", SREG.SS],
  ["tr", SREG.TR], ["ldt", SREG.LDTR],
] as const satisfies readonly (readonly [keyof Sregs, Sreg])[]; // prettier-ignore

/** KVM_GET_REGS. */
export function getRegs(vcpu: VcpuState): Regs {
  const regs: Partial<Regs> = {};
  for (const [name, reg] of GPRS) regs[name] = registerRead(vcpu, reg);
  regs.rflags = getRflags(vcpu);
  return regs as Regs;
}

/** KVM_SET_REGS: what is not given stays. An exception that waits is dropped. */
export function setRegs(vcpu: VcpuState, regs: Readonly<Partial<Regs>>): void {
  for (const [name, reg] of GPRS) {
    const value = regs[name];
    if (value !== undefined) registerWrite(vcpu, reg, value);
  }
  if (regs.rflags !== undefined) setRflags(vcpu, regs.rflags);
  vcpu.arch.exception.pending = false;
  makeRequest(vcpu, REQUEST.EVENT);
}

/** KVM_GET_SREGS. */
export function getSregs(vcpu: VcpuState): Sregs {
  const { arch } = vcpu;
  const { ops } = vcpu.kvm;
  const segments = Object.fromEntries(SEGMENTS.map(([name, seg]) => [name, getSegment(vcpu, seg)])) as Pick<
    Sregs,
    (typeof SEGMENTS)[number][0]
  >;
  const idt: DescriptorTable = { size: 0, address: 0n };
  const gdt: DescriptorTable = { size: 0, address: 0n };
  ops.get_idt(vcpu, idt);
  ops.get_gdt(vcpu, gdt);
  return {
    ...segments,
    idt,
    gdt,
    cr0: readCr0(vcpu),
    cr2: arch.cr2,
    cr3: readCr3(vcpu),
    cr4: readCr4(vcpu),
    cr8: getCr8(vcpu),
    efer: arch.efer,
    apicBase: arch.apicBase,
    pendingInterrupt: arch.interrupt.pending && !arch.interrupt.soft ? arch.interrupt.nr : -1,
  };
}

/** KVM_SET_SREGS: what is not given stays. */
export function setSregs(vcpu: VcpuState, sregs: Readonly<Partial<Sregs>>): void {
  const { arch } = vcpu;
  const { ops } = vcpu.kvm;
  if (sregs.cr4 !== undefined && (sregs.cr4 & CR4.OSXSAVE) !== 0n && !cpuidHas(vcpu, CPUID.XSAVE)) {
    throw new KvmError("EINVAL", "KVM_SET_SREGS", "cr4 has OSXSAVE, and CPUID does not show XSAVE");
  }
  if (sregs.idt) ops.set_idt(vcpu, sregs.idt);
  if (sregs.gdt) ops.set_gdt(vcpu, sregs.gdt);
  if (sregs.cr2 !== undefined) arch.cr2 = sregs.cr2;

  let resetMmu = false;
  if (sregs.cr3 !== undefined) {
    resetMmu = readCr3(vcpu) !== sregs.cr3;
    arch.cr3 = sregs.cr3;
    arch.regsAvail |= 1 << REG.CR3;
  }
  if (sregs.cr8 !== undefined) setCr8(vcpu, sregs.cr8);
  if (sregs.efer !== undefined) {
    resetMmu ||= arch.efer !== sregs.efer;
    ops.set_efer(vcpu, sregs.efer);
  }
  if (sregs.apicBase !== undefined) setApicBaseOnly(vcpu, sregs.apicBase);
  if (sregs.cr0 !== undefined) {
    resetMmu ||= readCr0(vcpu) !== sregs.cr0;
    ops.set_cr0(vcpu, sregs.cr0);
    arch.cr0 = sregs.cr0;
  }
  if (sregs.cr4 !== undefined) {
    resetMmu ||= readCr4(vcpu) !== sregs.cr4;
    ops.set_cr4(vcpu, sregs.cr4);
    if ((sregs.cr4 & (CR4.OSXSAVE | CR4.PKE)) !== 0n) updateCpuid(vcpu);
  }
  if (!isLongMode(vcpu) && isPae(vcpu)) {
    loadPdptrs(vcpu, readCr3(vcpu));
    resetMmu = true;
  }
  if (resetMmu) mmuResetContext(vcpu);

  const pending = sregs.pendingInterrupt ?? -1;
  if (pending >= 0 && pending < 256) queueInterrupt(vcpu, pending, false);
  for (const [name, seg] of SEGMENTS) {
    const segment = sregs[name];
    if (segment) setSegment(vcpu, segment, seg);
  }
  updateCr8Intercept(vcpu);
  // User space of old sets the reset state without KVM_SET_MP_STATE.
  if (
    isResetBootProcessor(vcpu) && sregs.cs?.selector === 0xf000 && sregs.cs.base === 0xffff0000n &&
    ripRead(vcpu) === 0xfff0n && !isProtectedMode(vcpu)
  ) {
    arch.mpState = "runnable";
  } // prettier-ignore
  makeRequest(vcpu, REQUEST.EVENT);
}

/** KVM_GET_DEBUGREGS. */
export function getDebugRegs(vcpu: VcpuState): DebugRegs {
  const { db, dr7 } = vcpu.arch;
  const [db0 = 0n, db1 = 0n, db2 = 0n, db3 = 0n] = db;
  return { db: [db0, db1, db2, db3], dr6: vcpu.kvm.ops.get_dr6(vcpu), dr7 };
}

/** KVM_SET_DEBUGREGS. */
export function setDebugRegs(vcpu: VcpuState, regs: DebugRegs): void {
  if (regs.dr6 >> 32n !== 0n || regs.dr7 >> 32n !== 0n) {
    throw new KvmError("EINVAL", "KVM_SET_DEBUGREGS", "dr6 and dr7 have 32 bits");
  }
  const { arch } = vcpu;
  arch.db.set(regs.db);
  updateDr0123(vcpu);
  arch.dr6 = regs.dr6;
  updateDr6(vcpu);
  arch.dr7 = regs.dr7;
  updateDr7(vcpu);
}

/** KVM_SET_GUEST_DEBUG: `control` is of GUESTDBG; `debugRegs` are DR0 to DR7 with USE_HW_BP. */
export function setGuestDebug(vcpu: VcpuState, control: number, debugRegs: readonly bigint[]): void {
  const { arch } = vcpu;
  if ((control & (GUESTDBG.INJECT_DB | GUESTDBG.INJECT_BP)) !== 0) {
    if (arch.exception.pending) throw new KvmError("EBUSY", "KVM_SET_GUEST_DEBUG", "an exception is pending");
    queueException(vcpu, (control & GUESTDBG.INJECT_DB) !== 0 ? VECTOR.DB : VECTOR.BP);
  }
  // Read before the control changes: a TF of the debugger's is still filtered out here.
  const rflags = getRflags(vcpu);
  arch.guestDebug = (control & GUESTDBG.ENABLE) !== 0 ? control : 0;
  if ((arch.guestDebug & GUESTDBG.USE_HW_BP) !== 0) {
    for (let i = 0; i < 4; i++) arch.effDb[i] = debugRegs[i] ?? 0n;
    arch.guestDebugDr7 = debugRegs[7] ?? 0n;
  } else {
    arch.effDb.set(arch.db);
  }
  updateDr7(vcpu);
  if ((arch.guestDebug & GUESTDBG.SINGLESTEP) !== 0) {
    arch.singlestepRip = ripRead(vcpu) + vcpu.kvm.ops.get_segment_base(vcpu, SREG.CS);
  }
  setRflags(vcpu, rflags);
  vcpu.kvm.ops.update_bp_intercept(vcpu);
}
