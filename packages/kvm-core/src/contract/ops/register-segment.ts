import { op } from "../op.js";
import type { CsBits, Segment, Sreg } from "../state.js";
import type { Vcpu } from "../vm.js";

export const REGISTER_SEGMENT_OPS = {
  get_segment_base: op<(vcpu: Vcpu, seg: Sreg) => bigint>()({
    args: ["vcpu", "seg"],
    context: "vcpu-loaded",
    hot: false,
    result: "bigint",
    returns: "base address, 64 bits",
    summary: "Read the base of one segment register, without the rest of its descriptor.",
  }),
  get_segment: op<(vcpu: Vcpu, segment: Segment, seg: Sreg) => void>()({
    args: ["vcpu", "segment", "seg"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    fills: "segment",
    summary: "Read one segment register with its hidden part, as the guest sees it.",
  }),
  set_segment: op<(vcpu: Vcpu, segment: Segment, seg: Sreg) => void>()({
    args: ["vcpu", "segment", "seg"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Load one segment register with its hidden part.",
  }),
  get_cpl: op<(vcpu: Vcpu) => number>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: true,
    result: "number",
    returns: "0 to 3",
    summary: "Read the current privilege level.",
  }),
  get_cs_db_l_bits: op<(vcpu: Vcpu, bits: CsBits) => void>()({
    args: ["vcpu", "bits"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    fills: "bits",
    summary: "Read the D/B and L bits of CS: default operand size and 64-bit mode.",
  }),
};
