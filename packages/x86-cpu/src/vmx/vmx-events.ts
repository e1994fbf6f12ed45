import {
  ACTIVITY,
  CPU_BASED,
  DR6_BREAKPOINTS,
  DR7,
  EXIT_REASON,
  GuestException,
  INTERRUPTIBILITY,
  INTERRUPT_SHADOW,
  INTR_INFO,
  INTR_INFO_TYPE_SHIFT,
  INTR_TYPE,
  PENDING_DEBUG_CONDITIONS,
  PIN_BASED,
  RFLAGS,
  VECTOR,
  VM_EXIT as EXIT_CONTROLS,
  deliverEvent,
  escalate,
  pushesResumeFlag,
  slot,
  type CpuState,
  type InterruptEvent,
  type InterruptionType,
  type ExecutionEnvironment,
} from "@tapvisor/x86-isa";
import type { GuestEvents } from "../engine/events.js";
import { InstructionBreakpoint } from "../engine/stepper.js";
import type { HostInterrupts } from "../processor/host-interrupts.js";
import type { VirtualClock } from "../time/clock.js";
import { highWord, lowWord } from "../words.js";
import { interruptionType, isSoftwareType } from "./event-information.js";
import { F } from "./fields.js";
import type { NonRoot } from "./non-root.js";

const SLOT = {
  rip: slot("rip"),
  currentRip: slot("currentRip"),
  nextRip: slot("nextRip"),
  flagsRest: slot("flagsRest"),
  cr2: slot("cr2"),
  dr6: slot("dr6"),
  dr7: slot("dr7"),
  activity: slot("activity"),
  interruptibility: slot("interruptibility"),
  pendingDebug: slot("pendingDebug"),
} as const;

const IF = Number(RFLAGS.IF);
const RF = Number(RFLAGS.RF);
const { MOV_SS, NMI } = INTERRUPTIBILITY;
const PENDING_CONDITIONS = Number(PENDING_DEBUG_CONDITIONS);
const NEVER = Number.MAX_SAFE_INTEGER;
/**
 * An exception whose delivery meets a benign one, such as #AC with a handler at CPL 3, is followed by that one without an
 * end: processors hang in it. Here it is a shutdown.
 */
const MOST_NESTED = 16;
/** A budget has to fit the engines' arithmetic; a longer wait takes several. */
const LONGEST_BUDGET = 0x7fff_ffff;

const typeField = (type: InterruptionType): number => type << INTR_INFO_TYPE_SHIFT;

/**
 * What surrounds the guest's instructions in VMX non-root operation: exceptions, interrupts, windows and deadlines, each
 * of which the VMCS may turn into a VM exit (SDM vol. 3, "Other Causes of VM Exits").
 */
export class VmxEvents implements GuestEvents {
  #attention = false;
  /** An interrupt, NMI or window waits for the guest to let it through, which many instructions may do. */
  #waiting = false;
  /** TSC of the clock at which the VMX-preemption timer reaches 0. */
  #preemptionDeadline = NEVER;
  /** Deliveries that met a fault, one in the other. */
  #nested = 0;
  /** A VM exit by the monitor trap flag is due before the next instruction. */
  #trapFlagDue = false;
  #environment: ExecutionEnvironment | undefined;
  /** Instructions that have retired in non-root operation since the processor exists. */
  total = 0;

  constructor(
    private readonly state: CpuState,
    private readonly nonRoot: NonRoot,
    private readonly clock: VirtualClock,
    private readonly host: HostInterrupts,
  ) {}

  /** The environment that events are delivered on. */
  attach(environment: ExecutionEnvironment): void {
    this.#environment = environment;
  }

  get attention(): boolean {
    return this.#attention || this.#waiting;
  }

  /** Something that {@link boundary} looks at may have changed. */
  attend(): void {
    this.#attention = true;
  }

  /**
   * Non-root operation begins. The event of the VM-entry interruption-information field is delivered as the last part of
   * the VM entry (SDM vol. 3, "Event Injection").
   *
   * @param rate the preemption timer counts down every 2^rate cycles
   */
  begin(rate: number): void {
    const { words, pin } = this.nonRoot;
    this.#attention = true;
    this.#trapFlagDue = false;
    this.#preemptionDeadline = NEVER;
    if ((pin & PIN_BASED.VMX_PREEMPTION_TIMER) !== 0) {
      const tick = 2 ** rate;
      const value = words[F.VMX_PREEMPTION_TIMER_VALUE] as number;
      this.#preemptionDeadline = (Math.floor(this.clock.cycles() / tick) + value) * tick;
    }
    const information = words[F.VM_ENTRY_INTR_INFO_FIELD] as number;
    if ((information & INTR_INFO.VALID) !== 0) this.#inject(information);
    else if (this.state.get32(SLOT.activity) >= ACTIVITY.SHUTDOWN) this.state.set64(SLOT.pendingDebug, 0n);
  }

  /** Non-root operation has ended: keep what the preemption timer has left, if the VM-exit controls ask for it. */
  end(rate: number): void {
    if ((this.nonRoot.exitControls & EXIT_CONTROLS.SAVE_VMX_PREEMPTION_TIMER) === 0) return;
    const tick = 2 ** rate;
    const left = this.#preemptionDeadline / tick - Math.floor(this.clock.cycles() / tick);
    this.nonRoot.words[F.VMX_PREEMPTION_TIMER_VALUE] = Math.max(0, left);
  }

  // --- GuestEvents

  budget(): number {
    if ((this.nonRoot.primary & CPU_BASED.MONITOR_TRAP_FLAG) !== 0) return 1;
    const deadline = Math.min(this.#preemptionDeadline, this.host.deadline() ?? NEVER);
    return Math.max(0, Math.min(LONGEST_BUDGET, deadline - this.clock.cycles()));
  }

  retired(instructions: number): void {
    if (instructions === 0) return;
    this.total += instructions;
    this.clock.retire(instructions);
    if ((this.nonRoot.primary & CPU_BASED.MONITOR_TRAP_FLAG) !== 0) {
      this.#trapFlagDue = true;
      this.#attention = true;
    }
  }

  boundary(): void {
    this.#attention = false;
    this.#waiting = false;
    const { state, nonRoot } = this;
    const { pin, primary } = nonRoot;
    const activity = state.get32(SLOT.activity);
    const blocking = state.get32(SLOT.interruptibility);

    // In the order of priority (SDM vol. 3, "Priority Among Concurrent Events" and the sections of each control).
    if ((state.get32(SLOT.pendingDebug) & PENDING_CONDITIONS) !== 0 && (blocking & MOV_SS) === 0) {
      const causes = state.get64(SLOT.pendingDebug) & PENDING_DEBUG_CONDITIONS;
      state.set64(SLOT.pendingDebug, 0n);
      this.debugTrap(causes);
      return;
    }
    if (this.#trapFlagDue) nonRoot.event(EXIT_REASON.MONITOR_TRAP_FLAG);
    if (this.clock.cycles() >= this.#preemptionDeadline) nonRoot.event(EXIT_REASON.PREEMPTION_TIMER);
    if (activity === ACTIVITY.WAIT_SIPI) return;
    const nmiWindow = (primary & CPU_BASED.NMI_WINDOW_EXITING) !== 0;
    if (nmiWindow && (blocking & (NMI | MOV_SS)) === 0) nonRoot.event(EXIT_REASON.NMI_WINDOW);
    if (this.host.nmiPending && this.#takeNmi(pin, blocking)) return;
    this.#waiting = nmiWindow || this.host.nmiPending;
    if (activity === ACTIVITY.SHUTDOWN) return;
    const open = (state.get32(SLOT.flagsRest) & IF) !== 0 && (blocking & INTERRUPT_SHADOW) === 0;
    const window = (primary & CPU_BASED.INTERRUPT_WINDOW_EXITING) !== 0;
    if (open && window) nonRoot.event(EXIT_REASON.INTERRUPT_WINDOW);
    const { pending } = this.host;
    if (pending && (pin & PIN_BASED.EXT_INTR_EXITING) !== 0) this.#externalInterruptExit();
    if (!open && (window || pending)) this.#waiting = true;
    if (!open || !pending) return;
    const vector = this.host.acknowledge();
    this.#deliver({ vector, type: INTR_TYPE.EXT_INTR, returnRip: state.get64(SLOT.rip) }, vector, 0);
  }

  idle(): void {
    const deadline = Math.min(this.#preemptionDeadline, this.host.deadline() ?? NEVER);
    if (deadline === NEVER) {
      // Nothing will ever wake this guest: hand the processor back as if somebody had asked for it.
      this.nonRoot.event(EXIT_REASON.EXTERNAL_INTERRUPT);
    }
    this.clock.charge(Math.max(0, deadline - this.clock.cycles()));
    this.#attention = true;
  }

  exception(fault: GuestException): void {
    this.state.set64(SLOT.rip, this.state.get64(SLOT.currentRip));
    if (fault instanceof InstructionBreakpoint) this.nonRoot.debugConditions = Number(fault.conditions);
    this.#raise(fault);
  }

  debugTrap(conditions: bigint): void {
    this.nonRoot.debugConditions = Number(conditions);
    this.#raise(new GuestException(VECTOR.DB));
  }

  // --- software interrupts

  /** INT n, INT3, INTO and INT1; of these the exception bitmap knows all but INT n. */
  softwareInterrupt(event: InterruptEvent): void {
    const { state, nonRoot } = this;
    const length = Number(state.get64(SLOT.nextRip) - state.get64(SLOT.currentRip));
    const information = event.vector | typeField(event.type);
    if (event.type !== INTR_TYPE.SOFT_INTR && ((nonRoot.exceptionBitmap >>> event.vector) & 1) !== 0) {
      nonRoot.vectored(EXIT_REASON.EXCEPTION_NMI, information, undefined, 0, 0, length);
    }
    nonRoot.delivering = (information | INTR_INFO.VALID) >>> 0;
    nonRoot.deliveringLength = length;
    deliverEvent(this.#on(), event);
    nonRoot.delivering = 0;
    this.#attention = true;
  }

  // --- parts

  #on(): ExecutionEnvironment {
    if (this.#environment === undefined) throw new Error("no environment is attached");
    return this.#environment;
  }

  #takeNmi(pin: number, blocking: number): boolean {
    if ((pin & PIN_BASED.NMI_EXITING) !== 0) {
      this.host.nmiPending = false;
      this.nonRoot.vectored(EXIT_REASON.EXCEPTION_NMI, VECTOR.NMI | typeField(INTR_TYPE.NMI_INTR), undefined, 0, 0, 0);
    }
    if ((blocking & (NMI | MOV_SS)) !== 0) return false;
    this.host.nmiPending = false;
    const returnRip = this.state.get64(SLOT.rip);
    this.#deliver({ vector: VECTOR.NMI, type: INTR_TYPE.NMI_INTR, returnRip }, VECTOR.NMI, 0);
    this.#blockNmis();
    return true;
  }

  #blockNmis(): void {
    this.state.set32(SLOT.interruptibility, this.state.get32(SLOT.interruptibility) | NMI);
  }

  /** With "acknowledge interrupt on exit" the vector is reported, otherwise the interrupt stays pending. */
  #externalInterruptExit(): never {
    const { nonRoot } = this;
    if ((nonRoot.exitControls & EXIT_CONTROLS.ACK_INTR_ON_EXIT) === 0) {
      return nonRoot.event(EXIT_REASON.EXTERNAL_INTERRUPT);
    }
    const vector = this.host.acknowledge();
    return nonRoot.vectored(EXIT_REASON.EXTERNAL_INTERRUPT, vector, undefined, 0, 0, 0);
  }

  #inject(information: number): void {
    const { words } = this.nonRoot;
    const vector = information & INTR_INFO.VECTOR;
    const type = interruptionType(information);
    if (type === INTR_TYPE.OTHER_EVENT) {
      this.#trapFlagDue = true;
      return;
    }
    this.#forgetPendingDebug(type);
    const length = isSoftwareType(type) ? (words[F.VM_ENTRY_INSTRUCTION_LEN] as number) : 0;
    const coded = (information & INTR_INFO.DELIVER_CODE) !== 0;
    const errorCode = coded ? (words[F.VM_ENTRY_EXCEPTION_ERROR_CODE] as number) : undefined;
    const returnRip = this.state.get64(SLOT.rip) + BigInt(length);
    this.#deliver({ vector, type: type as InterruptionType, errorCode, returnRip }, information, length);
    // With NMI exiting and no virtual NMIs there would be nothing to end the blocking: IRET does not.
    const exiting = (this.nonRoot.pin & (PIN_BASED.NMI_EXITING | PIN_BASED.VIRTUAL_NMIS)) === PIN_BASED.NMI_EXITING;
    if (type === INTR_TYPE.NMI_INTR && !exiting) this.#blockNmis();
    if ((this.nonRoot.primary & CPU_BASED.MONITOR_TRAP_FLAG) !== 0) this.#trapFlagDue = true;
  }

  /**
   * An injected event takes the place of pending debug exceptions, but for INT n, INT3 and INTO in the shadow of MOV SS
   * (SDM vol. 3, "Delivery of Pending Debug Exceptions after VM Entry").
   */
  #forgetPendingDebug(type: number): void {
    const { state } = this;
    const afterMovSs = (state.get32(SLOT.interruptibility) & MOV_SS) !== 0;
    const own = type === INTR_TYPE.SOFT_INTR || type === INTR_TYPE.SOFT_EXCEPTION;
    if (!own || !afterMovSs) state.set64(SLOT.pendingDebug, 0n);
  }

  /** Deliver an event at `rip`; a fault on the way is raised in turn. */
  #deliver(event: InterruptEvent, information: number, length: number): void {
    const { state, nonRoot } = this;
    const coded = event.errorCode === undefined ? 0 : INTR_INFO.DELIVER_CODE;
    const base = (information & INTR_INFO.VECTOR) | typeField(event.type) | coded | INTR_INFO.VALID;
    nonRoot.delivering = base >>> 0;
    nonRoot.deliveringErrorCode = event.errorCode ?? 0;
    nonRoot.deliveringLength = length;
    try {
      deliverEvent(this.#on(), event);
    } catch (thrown) {
      if (!(thrown instanceof GuestException)) throw thrown;
      if (++this.#nested > MOST_NESTED) nonRoot.event(EXIT_REASON.TRIPLE_FAULT);
      this.#raise(thrown);
      return;
    }
    this.#nested = 0;
    nonRoot.delivering = 0;
    // It costs what an instruction does: a guest whose handler faults at once would outlive every deadline otherwise.
    this.clock.retire(1);
    state.set64(SLOT.rip, state.get64(SLOT.nextRip));
    state.set32(SLOT.activity, ACTIVITY.ACTIVE);
    this.#attention = true;
  }

  /** An exception at `rip`, which may have been met while another event was being delivered. */
  #raise(fault: GuestException): void {
    const { state, nonRoot } = this;
    let { vector, errorCode } = fault;
    if (nonRoot.delivering === 0) this.#nested = 0;
    else {
      const type = interruptionType(nonRoot.delivering);
      const isException = type !== INTR_TYPE.EXT_INTR && type !== INTR_TYPE.NMI_INTR && type !== INTR_TYPE.SOFT_INTR;
      const first = isException ? nonRoot.delivering & INTR_INFO.VECTOR : undefined;
      const outcome = escalate(first, vector);
      if (outcome !== "handle") {
        // Neither a double nor a triple fault reports the event that led to it.
        nonRoot.delivering = 0;
        if (vector === VECTOR.PF && fault.cr2 !== undefined) state.set64(SLOT.cr2, fault.cr2);
        if (outcome === "triple-fault") nonRoot.event(EXIT_REASON.TRIPLE_FAULT);
        vector = VECTOR.DF;
        errorCode = 0;
      }
    }
    const information =
      vector | typeField(INTR_TYPE.HARD_EXCEPTION) | (errorCode === undefined ? 0 : INTR_INFO.DELIVER_CODE);
    const resumes = pushesResumeFlag(vector) || fault instanceof InstructionBreakpoint;
    if (this.#intercepted(vector, errorCode ?? 0)) {
      // RF is saved as it would be pushed (SDM vol. 3, "Saving RIP, RSP, RFLAGS, and SSP").
      if (resumes) state.set32(SLOT.flagsRest, state.get32(SLOT.flagsRest) | RF);
      this.#exceptionExit(vector, errorCode, information, fault);
    }
    nonRoot.nmiUnblocked = false;
    if (vector === VECTOR.PF && fault.cr2 !== undefined) state.set64(SLOT.cr2, fault.cr2);
    if (vector === VECTOR.DB) this.#recordDebugConditions();
    const resumeFlag = resumes ? { resumeFlag: true } : {};
    const event = {
      vector,
      type: INTR_TYPE.HARD_EXCEPTION,
      errorCode,
      returnRip: state.get64(SLOT.rip),
      ...resumeFlag,
    };
    this.#deliver(event, information, 0);
    if ((nonRoot.primary & CPU_BASED.MONITOR_TRAP_FLAG) !== 0) this.#trapFlagDue = true;
  }

  /** The exception bitmap; of page faults it is inverted where the error code does not match (SDM vol. 3, "Exceptions"). */
  #intercepted(vector: number, errorCode: number): boolean {
    const { nonRoot } = this;
    const bit = ((nonRoot.exceptionBitmap >>> vector) & 1) !== 0;
    if (vector !== VECTOR.PF) return bit;
    const mask = nonRoot.words[F.PAGE_FAULT_ERROR_CODE_MASK] as number;
    const match = nonRoot.words[F.PAGE_FAULT_ERROR_CODE_MATCH] as number;
    return (errorCode & mask) >>> 0 === match ? bit : !bit;
  }

  #exceptionExit(vector: number, errorCode: number | undefined, information: number, fault: GuestException): never {
    let low = 0;
    let high = 0;
    if (vector === VECTOR.PF && fault.cr2 !== undefined) {
      low = lowWord(fault.cr2);
      high = highWord(fault.cr2);
    }
    if (vector === VECTOR.DB) {
      low = this.nonRoot.debugConditions;
      this.nonRoot.debugConditions = 0;
    }
    return this.nonRoot.vectored(EXIT_REASON.EXCEPTION_NMI, information, errorCode, low, high, 0);
  }

  /** A #DB that the guest takes leaves its causes in DR6 and ends general detect (SDM vol. 3, "Debug Status Register (DR6)"). */
  #recordDebugConditions(): void {
    const { state, nonRoot } = this;
    state.set64(SLOT.dr6, (state.get64(SLOT.dr6) & ~DR6_BREAKPOINTS) | BigInt(nonRoot.debugConditions));
    state.set64(SLOT.dr7, state.get64(SLOT.dr7) & ~DR7.GD);
    nonRoot.debugConditions = 0;
  }
}
