import { defineArchBackend } from "@tapvisor/kvm-core/contract";
import { KvmAmd } from "./kvm-amd.js";
import { svmX86Ops } from "./svm-ops.js";

/**
 * The backend for AMD SVM as far as it goes without a vCPU: it probes, sets up, and switches SVM on and off. Every op
 * that needs a vCPU says ENOSYS in its own name. A new backend starts as a copy of this.
 */
export const svmBackend = defineArchBackend({
  name: "svm",
  vendor: "AuthenticAMD",
  create({ host, kvm }) {
    return { ops: svmX86Ops(new KvmAmd(host, kvm)) };
  },
});
