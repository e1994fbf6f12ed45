import { op } from "../op.js";
import type { DescriptorTable } from "../state.js";
import type { Vcpu } from "../vm.js";

export const REGISTER_TABLE_OPS = {
  get_idt: op<(vcpu: Vcpu, table: DescriptorTable) => void>()({
    args: ["vcpu", "table"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    fills: "table",
    summary: "Read IDTR.",
  }),
  set_idt: op<(vcpu: Vcpu, table: DescriptorTable) => void>()({
    args: ["vcpu", "table"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Write IDTR.",
  }),
  get_gdt: op<(vcpu: Vcpu, table: DescriptorTable) => void>()({
    args: ["vcpu", "table"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    fills: "table",
    summary: "Read GDTR.",
  }),
  set_gdt: op<(vcpu: Vcpu, table: DescriptorTable) => void>()({
    args: ["vcpu", "table"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Write GDTR.",
  }),
};
