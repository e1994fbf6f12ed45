import type { VcpuArch } from "../contract/index.js";
import type { VcpuFields } from "../state/vcpu-state.js";
import type { ResetTable } from "./fields.js";

/** When the state that backends see too goes back to its initial value. */
export const ARCH_RESET: ResetTable<VcpuArch> = {
  regs: "reset",
  regsAvail: "reset",
  regsDirty: "reset",
  // The op `vcpu_reset` sets the control registers with their masks, and IA32_EFER.
  cr0: "never",
  cr0GuestOwnedBits: "never",
  cr2: "reset",
  cr3: "reset",
  cr4: "never",
  cr4GuestOwnedBits: "never",
  cr8: "reset",
  efer: "never",
  hflags: "reset",
  // The local APIC's own reset.
  apicBase: "never",
  // The host's choice.
  apicvActive: "never",
  // Who resets decides whether the vCPU waits for SIPI.
  mpState: "never",
  exception: "reset",
  interrupt: "reset",
  eventExitInstLen: "reset",
  nmiPending: "reset",
  nmiInjected: "reset",
  // Of CPUID, which is user space's.
  maxPhysAddrBits: "never",
  guestSupportedXcr0: "never",
  mmu: "reset",
  db: "reset",
  dr6: "reset",
  dr7: "reset",
  // Follow from the debug registers and the debugger's, which are user space's.
  effDb: "never",
  switchDbRegs: "never",
  guestDebug: "never",
  guestDebugDr7: "never",
  singlestepRip: "never",
  // Follows from the write of IA32_TIME_STAMP_COUNTER that power-on makes.
  tscOffset: "never",
  virtualTscKhz: "never",
  tscAdjust: "power-on",
  msrs: "power-on",
  // KVM_X86_SETUP_MCE.
  mcgCap: "never",
  // Where the FPU's registers are: the backend's, and the processor's.
  fpuActive: "never",
  guestFpuLoaded: "never",
  guestFpu: "power-on",
  xcr0: "power-on",
  xss: "power-on",
  // The op `pmu_ops.reset`.
  pmu: "never",
  requests: "power-on",
};

/** When the state that is the core's alone does. */
export const VCPU_RESET: ResetTable<VcpuFields> = {
  // Who the vCPU is, and what it stands on.
  kvm: "never",
  vm: "never",
  id: "never",
  arch: "never",
  backendState: "never",
  lapic: "never",
  // What user space has set.
  cpuid: "never",
  mceSetUp: "never",
  // Where the vCPU is, and how its last run ended: the host's.
  cpu: "never",
  loads: "never",
  exit: "never",
  inGuestMode: "never",
  preempted: "never",
  requestInterruptWindow: "never",
  yielded: "never",
  // Where its FPU state and XCR0 are.
  fpuProcessor: "never",
  fpuCounter: "never",
  guestXcr0Loaded: "never",
  // Caches and scratch.
  cr4AtLastEntry: "never",
  osxsave: "never",
  emulator: "never",
  csBits: "never",
  smbase: "power-on",
  nmiQueued: "reset",
  // The instruction that waits for user space is gone.
  completeUserspaceIo: "reset",
  // The sleep in HLT.
  blocking: "power-on",
};
