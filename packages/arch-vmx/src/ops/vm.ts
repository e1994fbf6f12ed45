import type { Vm } from "@tapvisor/kvm-core/contract";
import type { KvmIntel } from "../kvm-intel.js";
import { initRealModeTss } from "../vmcs/real-mode.js";

export function vmxSetTssAddr(intel: KvmIntel, vm: Vm, address: number): void {
  initRealModeTss(intel, vm, address);
}
