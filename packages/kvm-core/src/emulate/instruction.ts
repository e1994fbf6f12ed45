import {
  type DecodedInstruction, GuestException, INTR_TYPE, Mnemonic, RFLAGS, VECTOR, deliverEvent, evaluate,
  instructionPointerBits, slot,
} from "@tapvisor/x86-isa"; // prettier-ignore
import { readAnswered, readExit } from "../buses/access.js";
import { type EmulateOptions, type EmulationResult, PAGE_SIZE } from "../contract/index.js";
import { queueException, queueGuestException } from "../events/exceptions.js";
import { readGuest, writeGuest } from "../memory/guest.js";
import { isFault, translate } from "../mmu/walk.js";
import { ripRead, ripWrite } from "../registers/cache.js";
import { linearRip, setRflags } from "../registers/flags.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { atBreakpoint, singleStep, stepsInto, updateShadow } from "./debug.js";
import type { Decoded } from "./decoded.js";
import { flushWrites } from "./device-writes.js";
import { decodeAt } from "./fetch.js";
import { type EmulatorEnvironment, emulatorOf } from "./environment.js";
import { skipForcePrefix } from "./forced.js";
import { loadFpuState, storeFpuState } from "./fpu.js";
import { vcpuHalt } from "./hypercall.js";
import { enterTask } from "./new-task.js";
import { INTERRUPTIBILITY_AT, loadRest, loadSegment, loadState, storeState } from "./registers.js";
import { CannotEmulate, type CompletedRead, DeviceReadNeeded, type EmulationState } from "./state.js";

const RIP = slot("rip");
const RF = Number(RFLAGS.RF);
const HYPERCALL_BYTES = 3;

/** Load what the instruction needs besides what all do. */
function loadNeeded(emulator: EmulatorEnvironment, { instruction, block, fpu }: Decoded): void {
  if (block.system) {
    loadRest(emulator);
    if (FAST_CALLS.has(instruction.mnemonic)) emulator.loadFastCallMsrs();
  } else {
    for (const operand of instruction.operands) if (operand.kind === "memory") loadSegment(emulator, operand.segment);
  }
  if (fpu) loadFpuState(emulator);
}

// --- one instruction

/** x86_emulate_instruction: decode and execute the instruction at RIP. */
export function emulateInstruction(vcpu: VcpuState, options: EmulateOptions = {}): EmulationResult {
  const emulator = emulatorOf(vcpu);
  const trapUd = options.trapUd === true;
  const forced = trapUd && skipForcePrefix(vcpu);
  if (options.skip !== true) {
    const breakpoint = atBreakpoint(vcpu);
    if (breakpoint !== undefined) return breakpoint === "guest" ? "done" : "user_exit";
  }
  loadState(emulator);
  const refuse = (): EmulationResult => (trapUd ? refuseUd(vcpu, forced) : failed(vcpu));
  let decoded: Decoded | undefined;
  try {
    decoded = decodeAt(emulator);
  } catch (error) {
    if (error instanceof GuestException) {
      queueGuestException(vcpu, error);
      return "done";
    }
    if (error instanceof CannotEmulate) return refuse();
    throw error;
  }
  if (decoded === undefined) return refuse();
  const { instruction, block } = decoded;
  if (options.skip) {
    ripWrite(
      vcpu,
      BigInt.asUintN(instructionPointerBits(emulator.bitness), ripRead(vcpu) + BigInt(instruction.length)),
    );
    return "done";
  }
  if (trapUd && !forced && !EMULATED_ON_UD.has(instruction.mnemonic)) return fixHypercall(vcpu, instruction);
  if (forced && isHypercall(instruction)) {
    // em_hypercall: the processor executes it from here on, RIP being at it.
    fixHypercall(vcpu, instruction);
    return "done";
  }
  if (block.missing !== undefined || NOT_EMULATED.has(instruction.mnemonic)) return refuse();
  loadNeeded(emulator, decoded);
  return execute(vcpu, { decoded, reads: [], forced });
}

/** An intercepted #UD is the guest's after all. Behind a forced-emulation prefix RIP has moved, so it is queued here. */
function refuseUd(vcpu: VcpuState, forced: boolean): EmulationResult {
  if (!forced) return "fail";
  queueException(vcpu, VECTOR.UD);
  return "done";
}

/** What takes its target and selectors from MSRs. */
const FAST_CALLS: ReadonlySet<number> = new Set<number>([
  Mnemonic.Syscall,
  Mnemonic.Sysret,
  Mnemonic.Sysretq,
  Mnemonic.Sysenter,
  Mnemonic.Sysexit,
  Mnemonic.Sysexitq,
]);

/** What works on registers that stay with the processor: 4.9's emulator has none of it either. */
const NOT_EMULATED: ReadonlySet<number> = new Set<number>([
  Mnemonic.Swapgs,
  Mnemonic.Rdtscp,
  Mnemonic.Rdpid,
  Mnemonic.Rdpkru,
  Mnemonic.Wrpkru,
]);

/** EmulateOnUD: what one vendor's processors have in modes where the other's raise #UD. */
const EMULATED_ON_UD: ReadonlySet<number> = new Set<number>([
  Mnemonic.Syscall,
  Mnemonic.Sysenter,
  Mnemonic.Sysexit,
  Mnemonic.Sysexitq,
]);

const isHypercall = ({ mnemonic }: DecodedInstruction): boolean =>
  mnemonic === Mnemonic.Vmcall || mnemonic === Mnemonic.Vmmcall;

/** The other vendor's hypercall instruction: put the processor's own in its place. */
function fixHypercall(vcpu: VcpuState, instruction: DecodedInstruction): EmulationResult {
  if (!isHypercall(instruction)) return "fail";
  const code = new Uint8Array(HYPERCALL_BYTES);
  vcpu.kvm.ops.patch_hypercall(vcpu, code);
  const at = translate(vcpu, linearRip(vcpu), { write: false, user: false, fetch: true, implicit: false });
  // One that would cross a page, or that is the right one already, is left alone.
  if (isFault(at) || (at.address % PAGE_SIZE) + HYPERCALL_BYTES > PAGE_SIZE) return "fail";
  const present = new Uint8Array(HYPERCALL_BYTES);
  if (!readGuest(vcpu.vm, at.address, present) || present.every((byte, i) => byte === code[i])) return "fail";
  return writeGuest(vcpu.vm, at.address, code) ? "done" : "fail";
}

function execute(vcpu: VcpuState, emulation: EmulationState): EmulationResult {
  const emulator = emulatorOf(vcpu);
  const { state, before } = emulator;
  const { decoded, reads, forced } = emulation;
  const { instruction, block } = decoded;
  emulator.begin(reads);
  // RF ends with the instruction, unless that loads it.
  if ((before.eflags & RF) !== 0) state.eflags = before.eflags & ~RF;
  try {
    evaluate(block, emulator);
  } catch (error) {
    if (error instanceof GuestException) {
      queueGuestException(vcpu, error);
      return "done";
    }
    if (error instanceof DeviceReadNeeded) {
      askForRead(vcpu, { ...emulation, reads: [...emulator.memory.reads] }, error);
      return "user_exit";
    }
    if (error instanceof CannotEmulate) return forced ? refuseUd(vcpu, forced) : failed(vcpu);
    throw error;
  }
  // A string instruction goes on with its next element: a breakpoint on it has been met already.
  if ((instruction.rep || instruction.repne) && state.get64(RIP) === before.rip) state.eflags |= RF;
  const trap = stepsInto(instruction.mnemonic, before.eflags, state.eflags);
  storeState(emulator);
  if (decoded.fpu) storeFpuState(emulator);
  updateShadow(vcpu, state.get32(INTERRUPTIBILITY_AT));
  if (emulator.newTask !== undefined) enterTask(vcpu, emulator.newTask);
  const { halted } = emulator;
  const after = (): boolean => singleStep(vcpu, trap) && (!halted || vcpuHalt(vcpu));
  return flushWrites(vcpu, emulator.memory.writes, after) ? "done" : "user_exit";
}

/** The read needs user space: exit, and start the instruction over with its answer. */
function askForRead(vcpu: VcpuState, emulation: EmulationState, { space, address, size }: DeviceReadNeeded): void {
  const data = new Uint8Array(size);
  vcpu.exit = readExit(space, address, data);
  const answer: CompletedRead = { space, address, data };
  const emulator = emulatorOf(vcpu);
  vcpu.completeUserspaceIo = () => {
    readAnswered(vcpu, space, address, data);
    loadState(emulator);
    loadNeeded(emulator, emulation.decoded);
    return execute(vcpu, { ...emulation, reads: [...emulation.reads, answer] }) === "done";
  };
}

/** handle_emulation_failure: #UD for a program; the supervisor's own instruction stops the emulator. */
function failed(vcpu: VcpuState): EmulationResult {
  queueException(vcpu, VECTOR.UD);
  if (vcpu.kvm.ops.get_cpl(vcpu) !== 0) return "done";
  vcpu.exit = { reason: "internal_error", suberror: "emulation", data: [] };
  return "fail";
}

/** kvm_inject_realmode_interrupt: deliver through the interrupt vector table. */
export function injectRealmodeInterrupt(vcpu: VcpuState, vector: number, incEip: number): EmulationResult {
  const emulator = emulatorOf(vcpu);
  const { state } = emulator;
  loadState(emulator);
  loadRest(emulator);
  emulator.begin([]);
  try {
    const returnRip = BigInt.asUintN(16, state.get64(RIP) + BigInt(incEip));
    deliverEvent(emulator, { vector, type: INTR_TYPE.EXT_INTR, returnRip });
  } catch (error) {
    if (error instanceof GuestException || error instanceof CannotEmulate) return "fail";
    throw error;
  }
  state.set64(RIP, state.get64(slot("nextRip")));
  storeState(emulator);
  setRflags(vcpu, state.rflags);
  return flushWrites(vcpu, emulator.memory.writes, () => true) ? "done" : "user_exit";
}
