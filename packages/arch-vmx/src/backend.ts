import { defineArchBackend } from "@tapvisor/kvm-core/contract";
import { KvmIntel } from "./kvm-intel.js";
import type { VmxProcessor } from "./processor.js";
import { vmxX86Ops } from "./vmx-ops.js";

/** The backend for Intel VT-x: what kvm-intel.ko is to kvm.ko. */
export const vmxBackend = defineArchBackend<VmxProcessor>({
  name: "vmx",
  vendor: "GenuineIntel",
  create({ host, kvm, ops }) {
    return { ops: vmxX86Ops(new KvmIntel(host, kvm, ops)) };
  },
});
