import {
  CR0,
  DR7_FIXED_1,
  EFER,
  SEGMENT_NAMES,
  VM_ENTRY,
  VM_EXIT,
  slot,
  type CpuState,
  type VmcsFieldName,
  type SlotName,
} from "@tapvisor/x86-isa";
import { F } from "./fields.js";
import type { StateCopies, WordPairs } from "./state-copy.js";

/** Index of the low word of a field of the architectural state. */
const word = (name: SlotName): number => slot(name) >> 2;

/** Pairs of word indices, state then VMCS. */
class TransferList {
  readonly #pairs: number[] = [];
  #compiled: Int32Array | undefined;

  both(state: SlotName, field: VmcsFieldName): this {
    this.#pairs.push(word(state), F[field], word(state) + 1, F[field] + 1);
    return this;
  }

  low(state: SlotName, field: VmcsFieldName): this {
    this.#pairs.push(word(state), F[field]);
    return this;
  }

  get pairs(): Int32Array {
    return (this.#compiled ??= Int32Array.from(this.#pairs));
  }
}

function toVmcs(pairs: Int32Array, state: Uint32Array, vmcs: Uint32Array): void {
  for (let i = 0; i < pairs.length; i += 2) {
    vmcs[pairs[i + 1] as number] = state[pairs[i] as number] as number;
  }
}

function toState(pairs: Int32Array, state: Uint32Array, vmcs: Uint32Array): void {
  for (let i = 0; i < pairs.length; i += 2) {
    state[pairs[i] as number] = vmcs[pairs[i + 1] as number] as number;
  }
}

/** Guest state that every VM entry loads and every VM exit saves, but for CR0, RFLAGS and what controls decide. */
const guestList = new TransferList()
  .both("cr3", "GUEST_CR3")
  .both("cr4", "GUEST_CR4")
  .both("rsp", "GUEST_RSP")
  .both("rip", "GUEST_RIP")
  .low("sysenter_cs", "GUEST_SYSENTER_CS")
  .both("sysenter_esp", "GUEST_SYSENTER_ESP")
  .both("sysenter_eip", "GUEST_SYSENTER_EIP")
  .both("gdtr.base", "GUEST_GDTR_BASE")
  .low("gdtr.limit", "GUEST_GDTR_LIMIT")
  .both("idtr.base", "GUEST_IDTR_BASE")
  .low("idtr.limit", "GUEST_IDTR_LIMIT")
  .low("interruptibility", "GUEST_INTERRUPTIBILITY_INFO")
  .low("activity", "GUEST_ACTIVITY_STATE")
  .both("pendingDebug", "GUEST_PENDING_DBG_EXCEPTIONS");
for (const name of SEGMENT_NAMES) {
  const upper = name.toUpperCase() as Uppercase<typeof name>;
  guestList
    .low(`${name}.selector`, `GUEST_${upper}_SELECTOR`)
    .both(`${name}.base`, `GUEST_${upper}_BASE`)
    .low(`${name}.limit`, `GUEST_${upper}_LIMIT`)
    .low(`${name}.rights`, `GUEST_${upper}_AR_BYTES`);
}

const pairsOf = (list: Int32Array): WordPairs =>
  Array.from({ length: list.length >> 1 }, (_, n) => [list[n * 2] as number, list[n * 2 + 1] as number] as const);

const DEBUG_CONTROLS = new TransferList().both("dr7", "GUEST_DR7").both("debugctl", "GUEST_IA32_DEBUGCTL").pairs;
const GUEST_PAT = new TransferList().both("pat", "GUEST_IA32_PAT").pairs;
const GUEST_EFER = new TransferList().both("efer", "GUEST_IA32_EFER").pairs;
const PDPTES = new TransferList()
  .both("pdpte0", "GUEST_PDPTR0")
  .both("pdpte1", "GUEST_PDPTR1")
  .both("pdpte2", "GUEST_PDPTR2")
  .both("pdpte3", "GUEST_PDPTR3").pairs;

/** Host state that every VM exit loads. */
const hostList = new TransferList()
  .both("cr0", "HOST_CR0")
  .both("cr3", "HOST_CR3")
  .both("cr4", "HOST_CR4")
  .both("rsp", "HOST_RSP")
  .both("rip", "HOST_RIP")
  .low("sysenter_cs", "HOST_IA32_SYSENTER_CS")
  .both("sysenter_esp", "HOST_IA32_SYSENTER_ESP")
  .both("sysenter_eip", "HOST_IA32_SYSENTER_EIP")
  .low("es.selector", "HOST_ES_SELECTOR")
  .low("cs.selector", "HOST_CS_SELECTOR")
  .low("ss.selector", "HOST_SS_SELECTOR")
  .low("ds.selector", "HOST_DS_SELECTOR")
  .low("fs.selector", "HOST_FS_SELECTOR")
  .low("gs.selector", "HOST_GS_SELECTOR")
  .low("tr.selector", "HOST_TR_SELECTOR")
  .both("fs.base", "HOST_FS_BASE")
  .both("gs.base", "HOST_GS_BASE")
  .both("tr.base", "HOST_TR_BASE")
  .both("gdtr.base", "HOST_GDTR_BASE")
  .both("idtr.base", "HOST_IDTR_BASE");
const HOST_PAT = new TransferList().both("pat", "HOST_IA32_PAT").pairs;
const HOST_EFER = new TransferList().both("efer", "HOST_IA32_EFER").pairs;

/** What every world switch copies, but for CR0, RFLAGS and what controls decide. */
export const SWITCHED = { guest: pairsOf(guestList.pairs), host: pairsOf(hostList.pairs) } as const;

const CR0_WORD = word("cr0");
const EFER_WORD = word("efer");
const PAT_WORD = word("pat");
const DR7_WORD = word("dr7");
const DEBUGCTL_WORD = word("debugctl");
const GDTR_LIMIT = word("gdtr.limit");
const IDTR_LIMIT = word("idtr.limit");
const TR_LIMIT = word("tr.limit");
const LDTR_SELECTOR = word("ldtr.selector");

const PG = Number(CR0.PG);
const LMA = Number(EFER.LMA);
const LME = Number(EFER.LME);
/** Bits of CR0 that a VM entry takes from the VMCS: all that exist but ET, NW and CD (SDM vol. 3, "Loading Guest Control Registers, Debug Registers, and MSRs"). */
const CR0_LOADED = Number(CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.NE | CR0.WP | CR0.AM | CR0.PG);
const CR0_ET = Number(CR0.ET);
const DR7_RESET = Number(DR7_FIXED_1);
/** Bits of DR7 that a VM entry takes from the VMCS: all but 12, 14 and 15. */
const DR7_LOADED = 0xffff2fff;
/** Limit of GDTR and IDTR, and of TR, after every VM exit (SDM vol. 3, "Loading Host Segment and Descriptor-Table Registers"). */
const HOST_TABLE_LIMIT = 0xffff;
const HOST_TR_LIMIT = 0x67;

/**
 * Load guest state on a VM entry.
 *
 * @param root the register state of root operation: what the VMCS does not load, the guest takes over
 */
export function loadGuestState(
  copies: StateCopies,
  state: CpuState,
  root: CpuState,
  vmcs: Uint32Array,
  entryControls: number,
): void {
  const words = state.words;
  copies.loadGuest(vmcs.byteOffset);
  state.eflags = vmcs[F.GUEST_RFLAGS] as number;
  const cr0 = vmcs[F.GUEST_CR0] as number;
  words[CR0_WORD] = (cr0 & CR0_LOADED) | ((root.words[CR0_WORD] as number) & ~CR0_LOADED) | CR0_ET;
  words[CR0_WORD + 1] = 0;
  if ((entryControls & VM_ENTRY.LOAD_DEBUG_CONTROLS) !== 0) {
    toState(DEBUG_CONTROLS, words, vmcs);
    words[DR7_WORD] = ((words[DR7_WORD] as number) & DR7_LOADED) | DR7_RESET;
  } else {
    words[DR7_WORD] = root.words[DR7_WORD] as number;
    words[DEBUGCTL_WORD] = root.words[DEBUGCTL_WORD] as number;
  }
  if ((entryControls & VM_ENTRY.LOAD_IA32_PAT) !== 0) toState(GUEST_PAT, words, vmcs);
  else {
    words[PAT_WORD] = root.words[PAT_WORD] as number;
    words[PAT_WORD + 1] = root.words[PAT_WORD + 1] as number;
  }
  if ((entryControls & VM_ENTRY.LOAD_IA32_EFER) !== 0) toState(GUEST_EFER, words, vmcs);
  else {
    const ia32e = (entryControls & VM_ENTRY.IA32E_MODE) !== 0;
    let efer = (root.words[EFER_WORD] as number) & ~LMA;
    if (ia32e) efer |= LMA;
    if ((cr0 & PG) !== 0) efer = ia32e ? efer | LME : efer & ~LME;
    words[EFER_WORD] = efer;
    words[EFER_WORD + 1] = 0;
  }
}

/** Load the PDPTEs of a guest with PAE paging and EPT from the VMCS. */
export function loadPdptes(state: CpuState, vmcs: Uint32Array): void {
  toState(PDPTES, state.words, vmcs);
}

/**
 * Save guest state on a VM exit (SDM vol. 3, "Saving Guest State").
 *
 * @param pdptes the guest has PAE paging and EPT
 * @param saveLma record IA32_EFER.LMA in the VM-entry controls
 */
export function saveGuestState(
  copies: StateCopies,
  state: CpuState,
  vmcs: Uint32Array,
  exitControls: number,
  pdptes: boolean,
  saveLma: boolean,
): void {
  const words = state.words;
  copies.saveGuest(vmcs.byteOffset);
  vmcs[F.GUEST_RFLAGS] = state.eflags;
  vmcs[F.GUEST_RFLAGS + 1] = 0;
  vmcs[F.GUEST_CR0] = words[CR0_WORD] as number;
  vmcs[F.GUEST_CR0 + 1] = 0;
  if ((exitControls & VM_EXIT.SAVE_DEBUG_CONTROLS) !== 0) toVmcs(DEBUG_CONTROLS, words, vmcs);
  if ((exitControls & VM_EXIT.SAVE_IA32_PAT) !== 0) toVmcs(GUEST_PAT, words, vmcs);
  if ((exitControls & VM_EXIT.SAVE_IA32_EFER) !== 0) toVmcs(GUEST_EFER, words, vmcs);
  if (pdptes) toVmcs(PDPTES, words, vmcs);
  if (saveLma) {
    const lma = ((words[EFER_WORD] as number) & LMA) !== 0;
    const controls = vmcs[F.VM_ENTRY_CONTROLS] as number;
    vmcs[F.VM_ENTRY_CONTROLS] = lma ? controls | VM_ENTRY.IA32E_MODE : controls & ~VM_ENTRY.IA32E_MODE;
  }
}

/**
 * Load host state on a VM exit (SDM vol. 3, "Loading Host State").
 *
 * @param state in force so far: IA32_EFER and IA32_PAT stay where no control loads them
 */
export function loadHostState(
  copies: StateCopies,
  root: CpuState,
  state: CpuState,
  vmcs: Uint32Array,
  exitControls: number,
): void {
  const words = root.words;
  const { words: guest } = state;
  copies.loadHost(vmcs.byteOffset);
  // CD and NW are not modified; see loadGuestState.
  words[CR0_WORD] = ((words[CR0_WORD] as number) & CR0_LOADED) | ((guest[CR0_WORD] as number) & ~CR0_LOADED);
  words[DR7_WORD] = DR7_RESET;
  words[DEBUGCTL_WORD] = 0;
  words[GDTR_LIMIT] = HOST_TABLE_LIMIT;
  words[IDTR_LIMIT] = HOST_TABLE_LIMIT;
  words[TR_LIMIT] = HOST_TR_LIMIT;
  words[LDTR_SELECTOR] = 0;
  if ((exitControls & VM_EXIT.LOAD_IA32_PAT) !== 0) toState(HOST_PAT, words, vmcs);
  else {
    words[PAT_WORD] = guest[PAT_WORD] as number;
    words[PAT_WORD + 1] = guest[PAT_WORD + 1] as number;
  }
  if ((exitControls & VM_EXIT.LOAD_IA32_EFER) !== 0) toState(HOST_EFER, words, vmcs);
  else {
    const efer = (guest[EFER_WORD] as number) & ~(LMA | LME);
    words[EFER_WORD] = (exitControls & VM_EXIT.HOST_ADDR_SPACE_SIZE) !== 0 ? efer | LMA | LME : efer;
    words[EFER_WORD + 1] = 0;
  }
}
