import { VMCS_FIELDS, type VmcsFieldName } from "@tapvisor/x86-isa";
import { vmcsWord } from "./vmcs-layout.js";

/** Index of the low word of every VMCS field in its region, by name. */
export const F = Object.fromEntries(VMCS_FIELDS.map(({ name }) => [name, vmcsWord(name)])) as Readonly<
  Record<VmcsFieldName, number>
>;
