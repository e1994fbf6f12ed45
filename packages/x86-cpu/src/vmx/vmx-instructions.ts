import { EXIT_REASON, Mnemonic, type DecodedInstruction, type ExitReason } from "@tapvisor/x86-isa";
import { invalidationInformation, pointerInformation, vmcsAccessInformation } from "./instruction-information.js";

interface VmxInstruction {
  readonly reason: ExitReason;
  readonly information: (i: DecodedInstruction) => number;
}

const none = (): number => 0;

/** VMX instructions, which exit unconditionally. VMFUNC and what belongs to AMD raise #UD. */
export const VMX_INSTRUCTIONS: ReadonlyMap<number, VmxInstruction> = new Map<number, VmxInstruction>([
  [Mnemonic.Vmclear, { reason: EXIT_REASON.VMCLEAR, information: pointerInformation }],
  [Mnemonic.Vmlaunch, { reason: EXIT_REASON.VMLAUNCH, information: none }],
  [Mnemonic.Vmptrld, { reason: EXIT_REASON.VMPTRLD, information: pointerInformation }],
  [Mnemonic.Vmptrst, { reason: EXIT_REASON.VMPTRST, information: pointerInformation }],
  [Mnemonic.Vmread, { reason: EXIT_REASON.VMREAD, information: (i) => vmcsAccessInformation(i, 0, 1) }],
  [Mnemonic.Vmresume, { reason: EXIT_REASON.VMRESUME, information: none }],
  [Mnemonic.Vmwrite, { reason: EXIT_REASON.VMWRITE, information: (i) => vmcsAccessInformation(i, 1, 0) }],
  [Mnemonic.Vmxoff, { reason: EXIT_REASON.VMXOFF, information: none }],
  [Mnemonic.Vmxon, { reason: EXIT_REASON.VMXON, information: pointerInformation }],
  [Mnemonic.Invept, { reason: EXIT_REASON.INVEPT, information: invalidationInformation }],
  [Mnemonic.Invvpid, { reason: EXIT_REASON.INVVPID, information: invalidationInformation }],
]);
