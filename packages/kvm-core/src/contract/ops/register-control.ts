import { op } from "../op.js";
import type { Vcpu } from "../vm.js";

export const REGISTER_CONTROL_OPS = {
  decache_cr0_guest_bits: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    fills: "vcpu.arch.cr0",
    summary: "Fetch the bits of CR0 that the guest changes without an exit.",
  }),
  decache_cr3: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    fills: "vcpu.arch.cr3 and its bit in regsAvail",
    summary: "Fetch CR3 where the guest changes it without an exit.",
  }),
  decache_cr4_guest_bits: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    fills: "vcpu.arch.cr4",
    summary: "Fetch the bits of CR4 that the guest changes without an exit.",
  }),
  set_cr0: op<(vcpu: Vcpu, cr0: bigint) => void>()({
    args: ["vcpu", "cr0"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary:
      "Install a checked CR0: changes between real, protected and long mode, and the controls that hang on paging.",
  }),
  set_cr3: op<(vcpu: Vcpu, root: number) => void>()({
    args: ["vcpu", "root"],
    context: "before-entry",
    hot: false,
    result: "void",
    summary: "Load the root of the shadow page table. With a second-stage table set_tdp_cr3 is called instead.",
  }),
  set_cr4: op<(vcpu: Vcpu, cr4: bigint) => boolean>()({
    args: ["vcpu", "cr4"],
    context: "vcpu-loaded",
    hot: false,
    result: "boolean",
    returns: "refused: the guest gets #GP(0)",
    summary: "Install a checked CR4. The backend refuses what only it can judge, such as VMXE.",
  }),
  set_efer: op<(vcpu: Vcpu, efer: bigint) => void>()({
    args: ["vcpu", "efer"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Install a checked EFER.",
  }),
};
