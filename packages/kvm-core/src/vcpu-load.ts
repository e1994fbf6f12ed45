import { KvmError } from "./contract/index.js";
import { migrateTimer } from "./irqchip/lapic-timer.js";
import { putGuestFpu } from "./registers/fpu.js";
import type { VcpuState } from "./state/vcpu-state.js";

/** vcpu_load: make the vCPU current on the processor that the caller runs on. Nests. */
export function loadVcpu(vcpu: VcpuState): void {
  const { kvm, vm } = vcpu;
  if (vm.destroyed) throw new KvmError("EBADF", "vcpu_load", `VM ${vm.id} was destroyed`);
  if (vcpu.loads++ > 0) return;
  const cpu = kvm.host.scheduler.current().id;
  try {
    if (vcpu.preempted) {
      vcpu.preempted = false;
      kvm.ops.sched_in(vcpu, cpu);
    }
    kvm.ops.vcpu_load(vcpu, cpu);
  } catch (error) {
    vcpu.loads -= 1;
    throw error;
  }
  if (vcpu.cpu !== cpu) {
    if (vcpu.lapic) migrateTimer(vcpu.lapic);
    vcpu.cpu = cpu;
  }
}

/** vcpu_put. */
export function putVcpu(vcpu: VcpuState): void {
  if (--vcpu.loads > 0) return;
  vcpu.kvm.ops.vcpu_put(vcpu);
  putGuestFpu(vcpu);
}

/** Do `work` with the vCPU loaded, as every ioctl on it does. */
export function whileLoaded<T>(vcpu: VcpuState, work: () => T): T {
  loadVcpu(vcpu);
  try {
    return work();
  } finally {
    putVcpu(vcpu);
  }
}
