import { REQUEST } from "../contract/index.js";
import { clearExceptionQueue, clearInterruptQueue } from "../events/exceptions.js";
import { pmuReset } from "../pmu/pmu.js";
import { updateDr0123, updateDr6, updateDr7 } from "../registers/debug.js";
import { makeRequest } from "../requests.js";
import { SMBASE_RESET, type VcpuState } from "../state/vcpu-state.js";

const DR6_INIT = 0xffff0ff0n;
const DR7_INIT = 0x400n;

/** kvm_vcpu_reset: power-on, or INIT. */
export function resetVcpu(vcpu: VcpuState, initEvent: boolean): void {
  const { arch } = vcpu;
  arch.hflags = 0;
  vcpu.nmiQueued = 0;
  arch.nmiPending = 0;
  arch.nmiInjected = false;
  clearInterruptQueue(vcpu);
  clearExceptionQueue(vcpu);

  arch.db.fill(0n);
  updateDr0123(vcpu);
  arch.dr6 = DR6_INIT;
  updateDr6(vcpu);
  arch.dr7 = DR7_INIT;
  updateDr7(vcpu);
  arch.cr2 = 0n;
  makeRequest(vcpu, REQUEST.EVENT);
  if (!initEvent) {
    pmuReset(vcpu);
    vcpu.smbase = SMBASE_RESET;
  }
  arch.regs.u64.fill(0n);
  arch.regsAvail = ~0;
  arch.regsDirty = ~0;
  vcpu.kvm.ops.vcpu_reset(vcpu, initEvent);
}
