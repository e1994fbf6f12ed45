import {
  CR0,
  CR4,
  DEBUGCTL,
  EFER,
  EXIT_REASON,
  EXIT_REASON_ENTRY_FAILURE,
  INTERRUPTIBILITY,
  INTR_INFO,
  INTR_INFO_TYPE_SHIFT,
  INTR_TYPE,
  PENDING_DEBUG,
  RFLAGS,
  SECONDARY_EXEC,
  VECTOR,
  VMX_INSTRUCTION_ERROR,
  slot,
  type CpuState,
  type ExitReason,
  type SlotName,
} from "@tapvisor/x86-isa";
import type { Ram } from "../memory/ram.js";
import type { GuestMemory } from "../paging/guest-memory.js";
import { IDENTITY } from "../paging/second-stage.js";
import {
  Checked,
  violatedControlCheck,
  violatedGuestCheck,
  violatedHostCheck,
  violatedPdpteCheck,
  type CheckEnvironment,
  type EntryCheck,
} from "./entry-checks/index.js";
import type { EptWalker } from "./ept.js";
import { F } from "./fields.js";
import type { MsrLists } from "./msr-lists.js";
import type { NonRoot } from "./non-root.js";
import { VM_SUCCEED, type VmxOperation, type VmxStatus } from "./operation.js";
import type { StateCopies } from "./state-copy.js";
import { loadGuestState, loadHostState, loadPdptes, saveGuestState } from "./state-transfer.js";
import { VM_EXIT } from "./vm-exit.js";
import { VMCS_HEADER } from "./vmcs-layout.js";
import type { Vmcs } from "./vmcs.js";
import type { VmxEvents } from "./vmx-events.js";

const word = (name: SlotName): number => slot(name) >> 2;
const W = {
  cr0: word("cr0"),
  cr4: word("cr4"),
  efer: word("efer"),
  flagsRest: word("flagsRest"),
  pdptes: word("pdpte0"),
  rip: word("rip"),
  currentRip: word("currentRip"),
  interruptibility: word("interruptibility"),
  pendingDebug: word("pendingDebug"),
} as const;
const PDPTE0 = slot("pdpte0");
const CR3_AT = slot("cr3");
const DEBUGCTL_AT = slot("debugctl");

const PG = Number(CR0.PG);
const PAE = Number(CR4.PAE);
const LMA = Number(EFER.LMA);
const RF = Number(RFLAGS.RF);
const TF = Number(RFLAGS.TF);
const BTF = Number(DEBUGCTL.BTF);
const PDPTE_COUNT = 4;

/** Cycles that an intercepted instruction costs besides its own. */
export const INTERCEPTION_CYCLES = 1500;

/** VMX abort indicators (SDM vol. 3, "VMX Aborts"). */
const ABORT = { STORE_MSRS: 1, LOAD_MSRS: 4 } as const;

/** The processor met a condition from which VMX operation cannot go on: a bug of the hypervisor. */
export class VmxAbort extends Error {
  constructor(readonly indicator: number) {
    super(`VMX abort, indicator ${indicator}`);
    this.name = "VmxAbort";
  }
}

export interface WorldSwitchParts {
  readonly environment: CheckEnvironment;
  readonly state: CpuState;
  readonly root: CpuState;
  readonly copies: StateCopies;
  readonly ram: Ram;
  readonly memory: GuestMemory;
  readonly nonRoot: NonRoot;
  readonly events: VmxEvents;
  readonly ept: EptWalker;
  readonly lists: MsrLists;
  /** Run the guest until the next VM exit. */
  runUntilExit(): void;
  charge(cycles: number): void;
}

/** VM entry, the run of the guest, and VM exit (SDM vol. 3, "VM Entries", "VM Exits"). */
export class WorldSwitch {
  readonly #checked: Checked;
  /** The rule that the newest VM entry failed by, for whoever looks for the cause. */
  violation: EntryCheck | undefined;

  constructor(private readonly parts: WorldSwitchParts) {
    this.#checked = new Checked(parts.environment);
  }

  /** VMLAUNCH or VMRESUME in VMX root operation. */
  enter(operation: VmxOperation, launch: boolean): VmxStatus {
    const vmcs = operation.current;
    if (vmcs === undefined) return operation.fail(0);
    if (launch && vmcs.launched) return operation.fail(VMX_INSTRUCTION_ERROR.VMLAUNCH_NONCLEAR_VMCS);
    if (!launch && !vmcs.launched) return operation.fail(VMX_INSTRUCTION_ERROR.VMRESUME_NONLAUNCHED_VMCS);

    const checked = this.#checked;
    checked.take(vmcs);
    const { written } = vmcs;
    if (written !== 0) {
      this.violation = violatedControlCheck(checked, written);
      if (this.violation !== undefined) return operation.fail(VMX_INSTRUCTION_ERROR.ENTRY_INVALID_CONTROL_FIELD);
      this.violation = violatedHostCheck(checked, written);
      if (this.violation !== undefined) return operation.fail(VMX_INSTRUCTION_ERROR.ENTRY_INVALID_HOST_STATE_FIELD);
    }
    this.violation = violatedGuestCheck(checked, written);
    if (this.violation !== undefined) {
      return this.#failEntry(vmcs, EXIT_REASON.INVALID_GUEST_STATE, this.violation.qualification ?? 0, this.parts.root);
    }
    return this.#enterChecked(vmcs, checked);
  }

  #enterChecked(vmcs: Vmcs, checked: Checked): VmxStatus {
    const { state, root, nonRoot, lists, events, memory } = this.parts;
    const words = vmcs.words;
    loadGuestState(this.parts.copies, state, root, words, checked.entry);
    nonRoot.enter(vmcs);
    memory.pager.secondStage = nonRoot.ept ? this.parts.ept : IDENTITY;
    if (checked.paging && !checked.ia32e && ((words[F.GUEST_CR4] as number) & PAE) !== 0) {
      if (nonRoot.ept) loadPdptes(state, words);
      else this.#readPdptes();
      for (let i = 0; i < checked.pdptes.length; i++) checked.pdptes[i] = state.words[W.pdptes + i] as number;
      this.violation = violatedPdpteCheck(checked);
      if (this.violation !== undefined) {
        return this.#failEntry(vmcs, EXIT_REASON.INVALID_GUEST_STATE, this.violation.qualification ?? 0, state);
      }
    }
    if ((words[F.VM_ENTRY_MSR_LOAD_COUNT] as number) !== 0) {
      const failed = lists.load(words, F.VM_ENTRY_MSR_LOAD_COUNT, F.VM_ENTRY_MSR_LOAD_ADDR, state);
      if (failed !== 0) return this.#failEntry(vmcs, EXIT_REASON.MSR_LOAD_FAIL, failed, state);
    }
    vmcs.written = 0;
    vmcs.launched = true;
    this.#switchTranslations(words);
    memory.modeChanged();
    // An event in delivery is not an instruction, but where it fails is told as if it were.
    state.words[W.currentRip] = state.words[W.rip] as number;
    state.words[W.currentRip + 1] = state.words[W.rip + 1] as number;

    const rate = this.parts.environment.capabilities.preemptionTimerRate;
    this.#run(rate);
    events.end(rate);
    this.#leave(vmcs);
    return VM_SUCCEED;
  }

  #run(rate: number): void {
    try {
      this.parts.events.begin(rate);
      this.parts.runUntilExit();
    } catch (thrown) {
      if (thrown !== VM_EXIT) throw thrown;
    }
  }

  #leave(vmcs: Vmcs): void {
    const { state, nonRoot } = this.parts;
    const words = vmcs.words;
    this.#notePendingTrap();
    // An instruction that exits has used RF up (SDM vol. 3, "Saving RIP, RSP, RFLAGS, and SSP").
    if (nonRoot.intercepted) state.words[W.flagsRest] = (state.words[W.flagsRest] as number) & ~RF;
    const pdptes = nonRoot.ept && this.#usesPae();
    const saveLma = (nonRoot.secondary & SECONDARY_EXEC.UNRESTRICTED_GUEST) !== 0;
    saveGuestState(this.parts.copies, state, words, nonRoot.exitControls, pdptes, saveLma);
    words[F.VM_ENTRY_INTR_INFO_FIELD] = ((words[F.VM_ENTRY_INTR_INFO_FIELD] as number) & ~INTR_INFO.VALID) >>> 0;
    if ((words[F.VM_EXIT_MSR_STORE_COUNT] as number) !== 0 && this.parts.lists.store(words, state) !== 0) {
      this.#abort(vmcs, ABORT.STORE_MSRS);
    }
    this.#toHost(vmcs, state);
    if (nonRoot.intercepted) this.parts.charge(INTERCEPTION_CYCLES);
  }

  /**
   * An entry that fails after the checks on controls and host state changes the exit reason and qualification alone.
   *
   * @param loaded the state in force: of the guest if it was loaded already
   */
  #failEntry(vmcs: Vmcs, reason: ExitReason, qualification: number, loaded: CpuState): VmxStatus {
    const words = vmcs.words;
    words[F.VM_EXIT_REASON] = (reason | EXIT_REASON_ENTRY_FAILURE) >>> 0;
    words[F.EXIT_QUALIFICATION] = qualification;
    words[F.EXIT_QUALIFICATION + 1] = 0;
    this.#toHost(vmcs, loaded);
    return VM_SUCCEED;
  }

  #toHost(vmcs: Vmcs, loaded: CpuState): void {
    const { root, lists } = this.parts;
    const words = vmcs.words;
    loadHostState(this.parts.copies, root, loaded, words, words[F.VM_EXIT_CONTROLS] as number);
    if ((words[F.VM_EXIT_MSR_LOAD_COUNT] as number) === 0) return;
    if (lists.load(words, F.VM_EXIT_MSR_LOAD_COUNT, F.VM_EXIT_MSR_LOAD_ADDR, root) !== 0) {
      this.#abort(vmcs, ABORT.LOAD_MSRS);
    }
  }

  #abort(vmcs: Vmcs, indicator: number): never {
    vmcs.words[VMCS_HEADER.ABORT_INDICATOR] = indicator;
    throw new VmxAbort(indicator);
  }

  /** Without VPIDs, a VM entry and the exit before it drop the guest's translations (SDM vol. 3, "Operations that Invalidate Cached Mappings"). */
  #switchTranslations(words: Uint32Array): void {
    const { nonRoot, memory } = this.parts;
    const tagged = (nonRoot.secondary & SECONDARY_EXEC.ENABLE_VPID) !== 0;
    const vpid = tagged ? (words[F.VIRTUAL_PROCESSOR_ID] as number) : 0;
    if (!tagged) memory.tlb.flush({ vpid });
    const { ept } = nonRoot;
    memory.enterSpace(vpid, ept ? (words[F.EPT_POINTER] as number) : 0, ept ? (words[F.EPT_POINTER + 1] as number) : 0);
  }

  #usesPae(): boolean {
    const s = this.parts.state.words;
    return (
      ((s[W.cr0] as number) & PG) !== 0 && ((s[W.cr4] as number) & PAE) !== 0 && ((s[W.efer] as number) & LMA) === 0
    );
  }

  /**
   * In the shadow of MOV SS the trap of the single-stepped instruction is pending, unless the exit is for a #DB (SDM vol. 3,
   * "Saving Non-Register State").
   */
  #notePendingTrap(): void {
    const { state, nonRoot } = this.parts;
    const s = state.words;
    if (((s[W.interruptibility] as number) & INTERRUPTIBILITY.MOV_SS) === 0) return;
    const debug = (INTR_INFO.VALID | (INTR_TYPE.HARD_EXCEPTION << INTR_INFO_TYPE_SHIFT) | VECTOR.DB) >>> 0;
    const exited = nonRoot.words[F.VM_EXIT_INTR_INFO] as number;
    const trap = (exited & ~INTR_INFO.NMI_UNBLOCKING) >>> 0 === debug;
    const steps = !trap && (state.eflags & TF) !== 0 && (state.get32(DEBUGCTL_AT) & BTF) === 0;
    const bs = Number(PENDING_DEBUG.BS);
    const pending = s[W.pendingDebug] as number;
    s[W.pendingDebug] = steps ? pending | bs : pending & ~bs;
  }

  #readPdptes(): void {
    const { state, ram } = this.parts;
    const base = Number(state.get64(CR3_AT) & 0xffff_ffe0n);
    for (let n = 0; n < PDPTE_COUNT; n++) {
      const at = base + n * 8;
      state.set64(PDPTE0 + n * 8, ram.contains(at, 8) ? ram.readU64(at) : 0xffff_ffff_ffff_ffffn);
    }
  }
}
