import type { EmulationResult } from "../contract/index.js";
import type { KvmVcpu } from "../vcpu.js";

/** kvm_task_switch. Not emulated yet: the caller reports an internal error. */
export function taskSwitch(
  _vcpu: KvmVcpu,
  _tssSelector: number,
  _idtIndex: number,
  _reason: number,
  _errorCode: number | undefined,
): EmulationResult {
  return "fail";
}
