import { CPUID } from "@tapvisor/x86-isa";
import type { MsrAccess } from "../contract/index.js";
import { cpuidHas } from "../cpuid/features.js";
import type { VcpuState } from "../state/vcpu-state.js";

const USEC_PER_SEC = 1_000_000n;

/** The guest's view of a host TSC value. */
export function guestTscOf(vcpu: VcpuState, hostTsc: bigint): bigint {
  return BigInt.asUintN(64, hostTsc + vcpu.arch.tscOffset);
}

/** kvm_read_l1_tsc of now. */
export function readL1Tsc(vcpu: VcpuState): bigint {
  return guestTscOf(vcpu, vcpu.kvm.host.scheduler.current().rdtsc());
}

function writeOffset(vcpu: VcpuState, offset: bigint): void {
  vcpu.arch.tscOffset = offset;
  vcpu.kvm.ops.write_tsc_offset(vcpu, offset);
}

/**
 * kvm_write_tsc; refuses nothing. A write by user space within a second of what the last one on this VM would have become is taken as an
 * attempt to synchronize the processors: it gets the very same offset. 4.9 takes the guest's writes so too, and the
 * guest then reads another value than it wrote; later kernels, and the SDM, do not.
 */
export function writeTsc(vcpu: VcpuState, msr: MsrAccess): false {
  const { arch, kvm, vm } = vcpu;
  const now = BigInt(kvm.host.clock.now());
  let offset = BigInt.asUintN(64, msr.data - kvm.host.scheduler.current().rdtsc());

  const { tsc } = vm;
  const khz = BigInt(arch.virtualTscKhz);
  const written = BigInt.asIntN(64, msr.data - tsc.lastWrite);
  const elapsed = (now - tsc.lastNanoseconds) / 1000n;
  const difference = (written * 1000n) / khz - elapsed;
  const synchronizes =
    msr.hostInitiated && tsc.lastKhz === arch.virtualTscKhz && difference > -USEC_PER_SEC && difference < USEC_PER_SEC;
  if (synchronizes) offset = tsc.offset;
  else tsc.offset = offset;

  tsc.lastNanoseconds = now;
  tsc.lastWrite = msr.data;
  tsc.lastKhz = arch.virtualTscKhz;
  if (!msr.hostInitiated && cpuidHas(vcpu, CPUID.TSC_ADJUST)) {
    arch.tscAdjust = BigInt.asUintN(64, arch.tscAdjust + offset - arch.tscOffset);
  }
  writeOffset(vcpu, offset);
  return false;
}

/** A write to IA32_TSC_ADJUST moves the TSC by as much, and is never refused (SDM vol. 3, "IA32_TSC_ADJUST Support"). */
export function writeTscAdjust(vcpu: VcpuState, msr: MsrAccess): false {
  const { arch } = vcpu;
  if (!cpuidHas(vcpu, CPUID.TSC_ADJUST)) return false;
  if (!msr.hostInitiated) writeOffset(vcpu, BigInt.asUintN(64, arch.tscOffset + msr.data - arch.tscAdjust));
  arch.tscAdjust = msr.data;
  return false;
}
