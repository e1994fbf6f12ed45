import {
  CR0, DR6, type DecodedInstruction, GuestException, INTERRUPTIBILITY, INTR_TYPE, Mnemonic, RFLAGS,
  VECTOR, type CodeMode, deliverEvent, evaluate, slot, stackAddressBytes,
} from "@tapvisor/x86-isa"; // prettier-ignore
import {
  type EmulateOptions, type EmulationResult, GUESTDBG, INTERRUPT_SHADOW, PAGE_SIZE, REQUEST,
} from "../contract/index.js"; // prettier-ignore
import { queueException, queueGuestException } from "../events/exceptions.js";
import { readGuest, writeGuest } from "../memory/guest.js";
import { isFault, translate } from "../mmu/walk.js";
import { ripRead, ripWrite } from "../registers/cache.js";
import { getRflags, linearRip, setRflags } from "../registers/flags.js";
import { is64BitMode, readCr0 } from "../registers/control.js";
import { makeRequest } from "../requests.js";
import type { KvmVcpu } from "../vcpu.js";
import type { Decoded } from "./decoded.js";
import { kernelMmioWrite, kernelPortWrite } from "./device.js";
import { EmulatorMachine } from "./machine.js";
import { enterTask } from "./new-task.js";
import { INTERRUPTIBILITY_AT, loadRest, loadSegment, loadState, type Snapshot, storeState } from "./registers.js";
import {
  CannotEmulate,
  type CompletedRead,
  type DelayedWrite,
  DeviceReadNeeded,
  type EmulationState,
} from "./state.js";

const MAX_BYTES = 15;
const RIP = slot("rip");
const HYPERCALL_BYTES = 3;

// --- fetch and decode

/** The bytes at RIP, up to 15 of them; fewer where the next page cannot be fetched from. Throws what the first page meets. */
function fetchBytes(vcpu: KvmVcpu): Uint8Array {
  const linear = linearRip(vcpu);
  const bytes = new Uint8Array(MAX_BYTES);
  const access = { write: false, user: vcpu.kvm.ops.get_cpl(vcpu) === 3, fetch: true, implicit: false };
  const long = is64BitMode(vcpu);
  for (let done = 0; done < MAX_BYTES;) {
    const at = long ? BigInt.asUintN(64, linear + BigInt(done)) : (linear + BigInt(done)) & 0xffffffffn;
    const result = translate(vcpu, at, access);
    const count = Math.min(MAX_BYTES - done, PAGE_SIZE - Number(at & 0xfffn));
    if (isFault(result)) {
      if (done > 0) return bytes.subarray(0, done);
      throw new GuestException(VECTOR.PF, result.errorCode, at);
    }
    if (!readGuest(vcpu.vm, result.address, bytes.subarray(done, done + count))) {
      if (done > 0) return bytes.subarray(0, done);
      throw new CannotEmulate("code that is not in memory");
    }
    done += count;
  }
  return bytes;
}

function codeMode(vcpu: KvmVcpu, machine: EmulatorMachine): CodeMode {
  const { bitness } = machine;
  return {
    bitness,
    stackBytes: stackAddressBytes(machine.state),
    flat: false,
    virtual8086: machine.virtual8086,
    protectedMode: readCr0(vcpu, CR0.PE) !== 0n,
  };
}

function decodeAt(vcpu: KvmVcpu, machine: EmulatorMachine): Decoded | undefined {
  return machine.decoded.decode(fetchBytes(vcpu), ripRead(vcpu), codeMode(vcpu, machine));
}

const FS = 4;
const GS = 5;

/** Load what the instruction needs besides what all do. */
function loadNeeded(vcpu: KvmVcpu, { instruction, block }: Decoded, before: Snapshot): void {
  const { state } = vcpu.emulator;
  if (instruction.bitness !== 64 || block.system) {
    loadRest(vcpu, state, before);
    return;
  }
  // In 64-bit mode no other segment has a base or a limit.
  const segment = instruction.memory?.segment;
  if (segment === FS) loadSegment(vcpu, state, before, "fs");
  else if (segment === GS) loadSegment(vcpu, state, before, "gs");
}

// --- one instruction

/** x86_emulate_instruction: decode and execute the instruction at RIP. */
export function emulateInstruction(vcpu: KvmVcpu, options: EmulateOptions = {}): EmulationResult {
  const machine = vcpu.emulator;
  const before = loadState(vcpu, machine.state);
  let decoded: Decoded | undefined;
  try {
    decoded = decodeAt(vcpu, machine);
  } catch (error) {
    if (error instanceof GuestException) {
      queueGuestException(vcpu, error);
      return "done";
    }
    if (error instanceof CannotEmulate) return options.trapUd ? "fail" : failed(vcpu);
    throw error;
  }
  if (decoded === undefined) return options.trapUd ? "fail" : failed(vcpu);
  const { instruction, block } = decoded;
  if (options.skip) {
    ripWrite(vcpu, BigInt.asUintN(machine.bitness, ripRead(vcpu) + BigInt(instruction.length)));
    return "done";
  }
  if (options.trapUd) {
    if (!EMULATED_ON_UD.has(instruction.mnemonic)) return fixHypercall(vcpu, instruction);
    machine.loadFastCallMsrs();
  }

  if (block.missing !== undefined) return failed(vcpu);
  loadNeeded(vcpu, decoded, before);
  return execute(vcpu, { instruction, block, reads: [] }, before);
}

/** EmulateOnUD: what one vendor's processors have in modes where the other's raise #UD. */
const EMULATED_ON_UD: ReadonlySet<number> = new Set<number>([
  Mnemonic.Syscall,
  Mnemonic.Sysenter,
  Mnemonic.Sysexit,
  Mnemonic.Sysexitq,
]);

/** The other vendor's hypercall instruction: put the processor's own in its place. */
function fixHypercall(vcpu: KvmVcpu, instruction: DecodedInstruction): EmulationResult {
  if (instruction.mnemonic !== Mnemonic.Vmcall && instruction.mnemonic !== Mnemonic.Vmmcall) return "fail";
  const code = new Uint8Array(HYPERCALL_BYTES);
  vcpu.kvm.ops.patch_hypercall(vcpu, code);
  const at = translate(vcpu, linearRip(vcpu), { write: false, user: false, fetch: true, implicit: false });
  // One that would cross a page, or that is the right one already, is left alone.
  if (isFault(at) || (at.address % PAGE_SIZE) + HYPERCALL_BYTES > PAGE_SIZE) return "fail";
  const present = new Uint8Array(HYPERCALL_BYTES);
  if (!readGuest(vcpu.vm, at.address, present) || present.every((byte, i) => byte === code[i])) return "fail";
  return writeGuest(vcpu.vm, at.address, code) ? "done" : "fail";
}

function execute(vcpu: KvmVcpu, emulation: EmulationState, before: Snapshot): EmulationResult {
  const machine = vcpu.emulator;
  machine.begin(emulation.reads);
  try {
    evaluate(emulation.block, machine);
  } catch (error) {
    if (error instanceof GuestException) {
      queueGuestException(vcpu, error);
      return "done";
    }
    if (error instanceof DeviceReadNeeded) {
      askForRead(vcpu, { ...emulation, reads: [...machine.reads] }, error);
      return "user_exit";
    }
    if (error instanceof CannotEmulate) return failed(vcpu);
    throw error;
  }
  storeState(vcpu, machine.state, before);
  updateShadow(vcpu, machine.state.get32(INTERRUPTIBILITY_AT));
  if (machine.halted) vcpu.arch.mpState = vcpu.lapic ? "halted" : vcpu.arch.mpState;
  if (machine.newTask !== undefined) enterTask(vcpu, machine.newTask);
  const flushed = flushWrites(vcpu, machine.writes);
  return singleStep(vcpu) && flushed ? "done" : "user_exit";
}

/** The read needs user space: exit, and start the instruction over with its answer. */
function askForRead(vcpu: KvmVcpu, emulation: EmulationState, { space, address, size }: DeviceReadNeeded): void {
  const data = new Uint8Array(size);
  if (space === "memory") {
    vcpu.exit = { reason: "mmio", mmio: { address, isWrite: false, length: size, data } };
  } else {
    const bytes = size === 1 || size === 2 ? size : 4;
    vcpu.exit = { reason: "io", io: { direction: "in", size: bytes, port: address, count: 1, data } };
  }
  const answer: CompletedRead = { space, address, data };
  vcpu.completeUserspaceIo = () => {
    const before = loadState(vcpu, vcpu.emulator.state);
    loadNeeded(vcpu, emulation, before);
    return execute(vcpu, { ...emulation, reads: [...emulation.reads, answer] }, before) === "done";
  };
}

/** Make the instruction's writes seen, in order; false when one waits for user space, which continues with the rest. */
export function flushWrites(vcpu: KvmVcpu, writes: readonly DelayedWrite[]): boolean {
  for (let i = 0; i < writes.length; i++) {
    const write = writes[i];
    const { address, data } = write;
    if (write.kind === "memory") {
      writeGuest(vcpu.vm, address, data);
      continue;
    }
    const claimed = write.kind === "port" ? kernelPortWrite(vcpu, address, data) : kernelMmioWrite(vcpu, address, data);
    if (claimed) continue;
    if (write.kind === "mmio") {
      vcpu.exit = { reason: "mmio", mmio: { address, isWrite: true, length: data.length, data } };
    } else {
      const size = data.length === 1 || data.length === 2 ? data.length : 4;
      vcpu.exit = { reason: "io", io: { direction: "out", size, port: address, count: 1, data } };
    }
    const rest = writes.slice(i + 1);
    vcpu.completeUserspaceIo = () => flushWrites(vcpu, rest);
    return false;
  }
  return true;
}

/** toggle_interruptibility: the instruction ends an interrupt shadow, unless it has made one. */
function updateShadow(vcpu: KvmVcpu, interruptibility: number): void {
  const { ops } = vcpu.kvm;
  let shadow = 0;
  if ((interruptibility & INTERRUPTIBILITY.STI) !== 0) shadow |= INTERRUPT_SHADOW.STI;
  if ((interruptibility & INTERRUPTIBILITY.MOV_SS) !== 0) shadow |= INTERRUPT_SHADOW.MOV_SS;
  const current = ops.get_interrupt_shadow(vcpu);
  if (current === 0 && shadow === 0) return;
  ops.set_interrupt_shadow(vcpu, shadow);
  if (shadow === 0) makeRequest(vcpu, REQUEST.EVENT);
}

/** kvm_vcpu_check_singlestep: the trap of RFLAGS.TF, or the debugger's. False = an exit for the debugger. */
function singleStep(vcpu: KvmVcpu): boolean {
  const { arch } = vcpu;
  if ((arch.guestDebug & GUESTDBG.SINGLESTEP) !== 0) {
    const dr6 = DR6.BS | 0xffff0ff0n;
    vcpu.exit = { reason: "debug", exception: VECTOR.DB, pc: arch.singlestepRip, dr6, dr7: arch.dr7 };
    return false;
  }
  if ((getRflags(vcpu) & RFLAGS.TF) !== 0n) {
    arch.dr6 = (arch.dr6 & ~0xfn) | DR6.BS | 0xffff0ff0n;
    queueException(vcpu, VECTOR.DB);
  }
  return true;
}

/** handle_emulation_failure: #UD for a program; the supervisor's own instruction stops the machine. */
function failed(vcpu: KvmVcpu): EmulationResult {
  queueException(vcpu, VECTOR.UD);
  if (vcpu.kvm.ops.get_cpl(vcpu) !== 0) return "done";
  vcpu.exit = { reason: "internal_error", suberror: "emulation", data: [] };
  return "fail";
}

/** kvm_inject_realmode_interrupt: deliver through the interrupt vector table. */
export function injectRealmodeInterrupt(vcpu: KvmVcpu, vector: number, incEip: number): EmulationResult {
  const machine = vcpu.emulator;
  const { state } = machine;
  const before = loadState(vcpu, state);
  loadRest(vcpu, state, before);
  machine.begin([]);
  try {
    const returnRip = BigInt.asUintN(16, state.get64(RIP) + BigInt(incEip));
    deliverEvent(machine, { vector, type: INTR_TYPE.EXT_INTR, returnRip });
  } catch (error) {
    if (error instanceof GuestException || error instanceof CannotEmulate) return "fail";
    throw error;
  }
  state.set64(RIP, state.get64(slot("nextRip")));
  storeState(vcpu, state, before);
  setRflags(vcpu, state.rflags);
  flushWrites(vcpu, machine.writes);
  return "done";
}
