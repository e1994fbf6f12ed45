import { op } from "../op.js";
import type { Vcpu } from "../vm.js";

export const MMU_OPS = {
  tlb_flush: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "before-entry",
    hot: false,
    result: "void",
    summary: "Drop every cached translation of the vCPU.",
  }),
  get_tdp_level: op<() => number>()({
    args: [],
    context: "vcpu-loaded",
    hot: false,
    result: "number",
    returns: "levels",
    summary: "Tell the depth of the second-stage page table.",
  }),
  get_mt_mask: op<(vcpu: Vcpu, gfn: number, isMmio: boolean) => bigint>()({
    args: ["vcpu", "gfn", "isMmio"],
    context: "mmu-lock",
    hot: true,
    result: "bigint",
    returns: "bits to OR into a leaf entry",
    summary: "Choose the memory type of a guest frame.",
  }),
  get_lpage_level: op<() => number>()({
    args: [],
    context: "mmu-lock",
    hot: true,
    result: "number",
    returns: "1: 4 KiB, 2: 2 MiB, 3: 1 GiB",
    summary: "Tell the largest page that the backend can map.",
  }),
  set_tdp_cr3: op<(vcpu: Vcpu, root: number) => void>()({
    args: ["vcpu", "root"],
    context: "before-entry",
    hot: false,
    result: "void",
    summary: "Load the root of the second-stage page table, and with it the guest's CR3 and PDPTEs.",
  }),
};
