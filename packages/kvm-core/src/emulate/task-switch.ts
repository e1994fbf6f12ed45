import { GuestException, SELECTOR_ERROR, TASK_SWITCH_SOURCE, VECTOR, cpl, slot, switchTask } from "@tapvisor/x86-isa";
import { REQUEST, type EmulationResult } from "../contract/index.js";
import { queueGuestException } from "../events/exceptions.js";
import { makeRequest } from "../requests.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { flushWrites } from "./device-writes.js";
import { type EmulatorEnvironment, emulatorOf } from "./environment.js";
import { enterTask } from "./new-task.js";
import { loadRest, loadState, storeState } from "./registers.js";
import { CannotEmulate } from "./state.js";

const RIP = slot("rip");
const NEXT_RIP = slot("nextRip");
const IDTR_BASE = slot("idtr.base");
/** Bytes of a gate, and where its access byte is. */
const GATE_BYTES = 8;
const GATE_ACCESS = 5;

const CAUSES = {
  [TASK_SWITCH_SOURCE.CALL]: "call",
  [TASK_SWITCH_SOURCE.IRET]: "iret",
  [TASK_SWITCH_SOURCE.JMP]: "jmp",
  [TASK_SWITCH_SOURCE.GATE]: "gate",
} as const;

/**
 * kvm_task_switch: RIP is where the old task goes on. Unlike 4.9's, a fault that the new task meets while its segments
 * are loaded is that task's, and the T flag of its TSS traps (SDM vol. 3, "Task Switching").
 *
 * @param idtIndex vector of the software interrupt that reached a task gate, otherwise -1
 * @param reason bits 31:30 of the exit qualification for task switches
 */
export function taskSwitch(
  vcpu: VcpuState,
  tssSelector: number,
  idtIndex: number,
  reason: number,
  errorCode: number | undefined,
): EmulationResult {
  const cause = isCause(reason) ? CAUSES[reason] : undefined;
  if (cause === undefined) return "fail";
  const emulator = emulatorOf(vcpu);
  const { state } = emulator;
  loadState(emulator);
  loadRest(emulator);
  emulator.begin([]);
  state.set64(NEXT_RIP, state.get64(RIP));
  try {
    if (cause === "gate" && idtIndex !== -1) checkGate(emulator, tssSelector, idtIndex);
    const outcome = switchTask(emulator, { selector: tssSelector, cause, errorCode });
    state.set64(RIP, state.get64(NEXT_RIP));
    storeState(emulator);
    // They go to memory: a TSS or descriptor in a device's memory is not waited for.
    flushWrites(vcpu, emulator.memory.writes, () => true);
    enterTask(vcpu, outcome);
  } catch (error) {
    if (error instanceof CannotEmulate) return "fail";
    if (!(error instanceof GuestException)) throw error;
    queueGuestException(vcpu, error);
  }
  makeRequest(vcpu, REQUEST.EVENT);
  return "done";
}

const isCause = (reason: number): reason is keyof typeof CAUSES => reason in CAUSES;

/** A program may only call a task by a gate that it may use. */
function checkGate(emulator: EmulatorEnvironment, tssSelector: number, idtIndex: number): void {
  const { state } = emulator;
  const at = state.get64(IDTR_BASE) + BigInt(idtIndex * GATE_BYTES + GATE_ACCESS);
  const dpl = (Number(emulator.load(at, 1, { write: false, system: true })) >> 5) & 3;
  if ((tssSelector & 3) > dpl || cpl(state) > dpl) {
    throw new GuestException(VECTOR.GP, (idtIndex << 3) | SELECTOR_ERROR.IDT);
  }
}
