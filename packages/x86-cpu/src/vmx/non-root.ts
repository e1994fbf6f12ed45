import {
  CPU_BASED,
  EPT_VIOLATION,
  EXIT_REASON,
  INTR_INFO,
  SECONDARY_EXEC,
  slot,
  type CpuState,
  type ExitReason,
} from "@tapvisor/x86-isa";
import { TWO_32 } from "../words.js";
import { interruptionType, isSoftwareType } from "./event-information.js";
import { F } from "./fields.js";
import { VM_EXIT } from "./vm-exit.js";
import type { Vmcs } from "./vmcs.js";

const CURRENT_RIP = slot("currentRip") >> 2;
const NEXT_RIP = slot("nextRip") >> 2;

/** Shape of the RAM that bitmaps lie in. */
export interface BitmapMemory {
  readonly size: number;
  readU8(address: number): number;
}

/**
 * VMX non-root operation under the current VMCS: its controls, which cannot change before the exit, and the way out.
 * Methods that exit write the VM-exit information fields and throw; the guest's state is saved by whoever catches.
 */
export class NonRoot {
  words: Uint32Array = new Uint32Array(1024);
  pin = 0;
  primary = 0;
  /** 0 unless active. */
  secondary = 0;
  exitControls = 0;
  exceptionBitmap = 0;
  /** The exit was asked for by an instruction: it takes time that faults and timers do not. */
  intercepted = false;

  /** Bits of DR6 that the #DB which is being raised has for its cause. */
  debugConditions = 0;

  /** IRET is being executed and has ended blocking by NMI: an exit for what it meets says so. */
  nmiUnblocked = false;

  /** The event in delivery, in the format of the IDT-vectoring information field; 0 for none. */
  delivering = 0;
  deliveringErrorCode = 0;
  /** Length of the instruction that a software event in delivery comes from. */
  deliveringLength = 0;

  constructor(
    readonly state: CpuState,
    private readonly memory: BitmapMemory,
  ) {}

  /** Take over the controls of a VMCS that a VM entry has checked. */
  enter(vmcs: Vmcs): void {
    const words = (this.words = vmcs.words);
    this.pin = words[F.PIN_BASED_VM_EXEC_CONTROL] as number;
    this.primary = words[F.CPU_BASED_VM_EXEC_CONTROL] as number;
    const active = (this.primary & CPU_BASED.ACTIVATE_SECONDARY_CONTROLS) !== 0;
    this.secondary = active ? (words[F.SECONDARY_VM_EXEC_CONTROL] as number) : 0;
    this.exitControls = words[F.VM_EXIT_CONTROLS] as number;
    this.exceptionBitmap = words[F.EXCEPTION_BITMAP] as number;
    this.delivering = 0;
    this.nmiUnblocked = false;
    this.intercepted = false;
  }

  get ept(): boolean {
    return (this.secondary & SECONDARY_EXEC.ENABLE_EPT) !== 0;
  }

  /** Exit for the instruction that is being executed. */
  instruction(reason: ExitReason, qualification = 0, qualificationHigh = 0, information = 0): never {
    this.recordInstruction(reason, qualification, qualificationHigh, information);
    throw VM_EXIT;
  }

  /** Write what an exit for the instruction that is being executed reports; the caller sees to it that the guest leaves. */
  recordInstruction(reason: ExitReason, qualification: number, qualificationHigh: number, information: number): void {
    this.#record(reason, qualification, qualificationHigh);
    const { words: state } = this.state;
    this.words[F.VM_EXIT_INSTRUCTION_LEN] = (state[NEXT_RIP] as number) - (state[CURRENT_RIP] as number);
    this.words[F.VMX_INSTRUCTION_INFO] = information;
    this.intercepted = true;
  }

  /** Exit for an event or condition between instructions. */
  event(reason: ExitReason, qualification = 0): never {
    this.#record(reason, qualification, 0);
    throw VM_EXIT;
  }

  /**
   * Exit for a vectored event.
   *
   * @param information vector, type and error-code bit, without the valid bit
   * @param errorCode of an exception that has one
   * @param length of the instruction that a software event comes from
   */
  vectored(
    reason: ExitReason,
    information: number,
    errorCode: number | undefined,
    qualification: number,
    qualificationHigh: number,
    length: number,
  ): never {
    this.#record(reason, qualification, qualificationHigh);
    const unblocked = this.#takeNmiUnblocked() ? INTR_INFO.NMI_UNBLOCKING : 0;
    this.words[F.VM_EXIT_INTR_INFO] = information | unblocked | INTR_INFO.VALID;
    if (errorCode !== undefined) this.words[F.VM_EXIT_INTR_ERROR_CODE] = errorCode;
    if (isSoftwareType(interruptionType(information))) this.words[F.VM_EXIT_INSTRUCTION_LEN] = length;
    throw VM_EXIT;
  }

  /** Exit for an EPT violation or misconfiguration. */
  secondStage(reason: ExitReason, qualification: number, gpa: number, linearLow: number, linearHigh: number): never {
    const unblocked = reason === EXIT_REASON.EPT_VIOLATION && this.#takeNmiUnblocked();
    this.#record(reason, unblocked ? qualification | EPT_VIOLATION.NMI_UNBLOCKING : qualification, 0);
    const words = this.words;
    words[F.GUEST_PHYSICAL_ADDRESS] = gpa % TWO_32;
    words[F.GUEST_PHYSICAL_ADDRESS + 1] = Math.floor(gpa / TWO_32);
    words[F.GUEST_LINEAR_ADDRESS] = linearLow;
    words[F.GUEST_LINEAR_ADDRESS + 1] = linearHigh;
    throw VM_EXIT;
  }

  /** Undefined, and clear here, where an event was in delivery. */
  #takeNmiUnblocked(): boolean {
    const unblocked = this.nmiUnblocked && this.delivering === 0;
    this.nmiUnblocked = false;
    return unblocked;
  }

  /** A 64-bit field of the VMCS. */
  field64(field: number): bigint {
    const { words } = this;
    return BigInt(words[field] as number) | (BigInt(words[field + 1] as number) << 32n);
  }

  /** The bit of `offset` in the bitmap page that the 64-bit field names; outside RAM all bits are set. */
  bitmap(field: number, offset: number): boolean {
    const words = this.words;
    const at = (words[field] as number) + (words[field + 1] as number) * TWO_32 + (offset >>> 3);
    return at >= this.memory.size || ((this.memory.readU8(at) >>> (offset & 7)) & 1) !== 0;
  }

  /**
   * Common to all exits. An exit that interrupts an event's delivery reports that event (SDM vol. 3, "Information for VM
   * Exits That Occur During Event Delivery").
   */
  #record(reason: number, qualification: number, qualificationHigh: number): void {
    const words = this.words;
    words[F.VM_EXIT_REASON] = reason;
    words[F.EXIT_QUALIFICATION] = qualification;
    words[F.EXIT_QUALIFICATION + 1] = qualificationHigh;
    words[F.VM_EXIT_INTR_INFO] = 0;
    words[F.IDT_VECTORING_INFO_FIELD] = this.delivering;
    if (this.delivering !== 0) {
      words[F.IDT_VECTORING_ERROR_CODE] = this.deliveringErrorCode;
      if (isSoftwareType(interruptionType(this.delivering))) {
        words[F.VM_EXIT_INSTRUCTION_LEN] = this.deliveringLength;
      }
    }
  }
}
