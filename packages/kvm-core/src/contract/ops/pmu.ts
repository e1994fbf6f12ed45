import { op } from "../op.js";
import type { Pmc } from "../pmu.js";
import type { MsrAccess } from "../state.js";
import type { Vcpu } from "../vm.js";

/** The members of kvm_pmu_ops. Where the kernel passes the vCPU's struct kvm_pmu, these take the vCPU. */
export const PMU_OPS = {
  find_arch_event: op<(vcpu: Vcpu, eventSelect: number, unitMask: number) => number>()({
    args: ["vcpu", "eventSelect", "unitMask"],
    context: "vcpu-loaded",
    hot: false,
    result: "number",
    returns: "one of PERF_COUNT_HW; MAX: not an architectural event",
    summary: "Map an event select and unit mask to an event of the host, if the guest's CPUID offers it.",
  }),
  find_fixed_event: op<(idx: number) => number>()({
    args: ["idx"],
    context: "vcpu-loaded",
    hot: false,
    result: "number",
    returns: "one of PERF_COUNT_HW; MAX: none",
    summary: "Tell which event fixed counter idx counts.",
  }),
  pmc_is_enabled: op<(pmc: Pmc) => boolean>()({
    args: ["pmc"],
    context: "vcpu-loaded",
    hot: false,
    result: "boolean",
    returns: "enabled: the global control register lets it count",
    summary: "Ask whether a counter is enabled.",
  }),
  pmc_idx_to_pmc: op<(vcpu: Vcpu, idx: number) => Pmc | undefined>()({
    args: ["vcpu", "idx"],
    context: "vcpu-loaded",
    hot: false,
    result: "object",
    returns: "the counter, or undefined",
    summary: "Find a counter by its global index: general ones from 0, fixed ones from 32.",
  }),
  msr_idx_to_pmc: op<(vcpu: Vcpu, idx: number) => Pmc | undefined>()({
    args: ["vcpu", "idx"],
    context: "vcpu-loaded",
    hot: false,
    result: "object",
    returns: "the counter, or undefined",
    summary: "Find a counter by the operand of RDPMC: bit 30 says fixed, bit 31 fast mode.",
  }),
  is_valid_msr_idx: op<(vcpu: Vcpu, idx: number) => boolean>()({
    args: ["vcpu", "idx"],
    context: "vcpu-loaded",
    hot: false,
    result: "boolean",
    returns: "invalid: there is no such counter (the sense is inverted, as in the kernel)",
    summary: "Check the operand of RDPMC.",
  }),
  is_valid_msr: op<(vcpu: Vcpu, index: number) => boolean>()({
    args: ["vcpu", "index"],
    context: "vcpu-loaded",
    hot: false,
    result: "boolean",
    returns: "owned: the MSR belongs to the PMU that the guest's CPUID describes",
    summary: "Ask whether an MSR is one of the PMU's.",
  }),
  get_msr: op<(vcpu: Vcpu, msr: MsrAccess) => boolean>()({
    args: ["vcpu", "msr"],
    context: "vcpu-loaded",
    hot: false,
    result: "boolean",
    returns: "refused: the guest gets #GP(0); false: msr.data is filled in",
    summary: "Read an MSR of the PMU.",
  }),
  set_msr: op<(vcpu: Vcpu, msr: MsrAccess) => boolean>()({
    args: ["vcpu", "msr"],
    context: "vcpu-loaded",
    hot: false,
    result: "boolean",
    returns: "refused: the guest gets #GP(0)",
    summary: "Write an MSR of the PMU and reprogram the counters that depend on it.",
  }),
  refresh: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-ioctl",
    hot: false,
    result: "void",
    fills: "vcpu.arch.pmu",
    summary: "Follow a new guest CPUID: the version of the PMU and the numbers of its counters.",
  }),
  init: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vm-ioctl",
    hot: false,
    result: "void",
    summary: "Set up the counters of a new vCPU.",
  }),
  reset: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Stop every counter and clear the PMU's registers.",
  }),
};
