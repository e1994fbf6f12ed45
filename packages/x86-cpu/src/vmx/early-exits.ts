import {
  CPU_BASED,
  EXIT_REASON,
  Mnemonic,
  RFLAGS,
  SEGMENT_RIGHTS,
  generalRegister,
  slot,
  type CpuState,
  type DecodedInstruction,
  type ExitReason,
} from "@tapvisor/x86-isa";
import { ioExits, ioQualification, msrExits } from "./intercepts.js";
import type { NonRoot } from "./non-root.js";

const RCX = slot("rcx");
const RDX = slot("rdx");
const FLAGS_REST = slot("flagsRest");
const SS_RIGHTS = slot("ss.rights");
const VM = Number(RFLAGS.VM);

/**
 * The instructions that exit most often, recognized before they are executed: an exit that is certain, and comes before
 * any fault, need not be thrown out of the middle of an instruction. Whatever is left undecided here, the
 * {@link NonRootEnvironment} decides.
 */
export class EarlyExits {
  constructor(
    private readonly state: CpuState,
    private readonly nonRoot: NonRoot,
  ) {}

  /** Record the exit of an instruction about to be executed, `currentRip` and `nextRip` being set. False: none is certain. */
  take(i: DecodedInstruction): boolean {
    const { nonRoot } = this;
    switch (i.mnemonic) {
      case Mnemonic.Cpuid:
        return this.#exit(EXIT_REASON.CPUID, 0);
      case Mnemonic.Vmcall:
        return this.#exit(EXIT_REASON.VMCALL, 0);
      case Mnemonic.Hlt:
        if ((nonRoot.primary & CPU_BASED.HLT_EXITING) === 0 || !this.#supervisor()) return false;
        return this.#exit(EXIT_REASON.HLT, 0);
      case Mnemonic.Rdmsr:
        if (!this.#supervisor() || !msrExits(nonRoot, this.state.get32(RCX), false)) return false;
        return this.#exit(EXIT_REASON.MSR_READ, 0);
      case Mnemonic.Wrmsr:
        if (!this.#supervisor() || !msrExits(nonRoot, this.state.get32(RCX), true)) return false;
        return this.#exit(EXIT_REASON.MSR_WRITE, 0);
      case Mnemonic.In:
        return this.#io(i, true, 0, 1);
      case Mnemonic.Out:
        return this.#io(i, false, 1, 0);
      default:
        return false;
    }
  }

  #io(i: DecodedInstruction, input: boolean, accumulator: number, portOperand: number): boolean {
    if (!this.#supervisor()) return false;
    const data = i.operands[accumulator];
    const from = i.operands[portOperand];
    const size = data?.kind === "register" ? generalRegister(data.register)?.size : undefined;
    if (size === undefined || from === undefined) return false;
    const immediate = from.kind === "immediate";
    const port = immediate ? Number(from.value & 0xffn) : this.state.get32(RDX) & 0xffff;
    if (!ioExits(this.nonRoot, port, size)) return false;
    return this.#exit(EXIT_REASON.IO_INSTRUCTION, ioQualification(port, size, input, immediate));
  }

  #exit(reason: ExitReason, qualification: number): boolean {
    this.nonRoot.recordInstruction(reason, qualification, 0, 0);
    return true;
  }

  /** CPL 0, which no IOPL forbids a port. */
  #supervisor(): boolean {
    const { state } = this;
    return (state.get32(FLAGS_REST) & VM) === 0 && (state.get32(SS_RIGHTS) & SEGMENT_RIGHTS.DPL) === 0;
  }
}
