import { Assembler, CR0 } from "@tapvisor/x86-isa";
import { type EmulateOptions, SREG, type Segment, type VcpuExit } from "../../src/contract/index.js";
import { emulateInstruction } from "../../src/emulate/instruction.js";
import type { KvmVcpu } from "../../src/vcpu.js";
import { scriptedVcpu } from "./scripted.js";

/** Where {@link guest} has its code and the top of its stack. */
export const CODE = 0x2000;
export const STACK = 0x6000n;
/** No slot is there. */
export const DEVICE = 0x10_0000;

/** A flat 4-GiB segment. */
export const flat = (selector: number, type: number, dpl = 0): Segment => ({
  base: 0n, limit: 0xffffffff, selector, type, present: true, dpl, db: true, s: true, l: false, g: true, avl: false,
  unusable: false,
}); // prettier-ignore

/** A vCPU in flat 32-bit code, about to execute what `code` assembles. */
export function guest(code: (a: Assembler) => void, { cpl = 0, options = {} } = {}) {
  const scripted = scriptedVcpu({ options });
  const { vcpu, vm, stateOf } = scripted;
  const a = new Assembler(32);
  code(a);
  const { bytes } = a.assemble(CODE);
  vm.writeGuest(CODE, bytes);
  const { segments } = stateOf(vcpu);
  segments.set(SREG.CS, flat(8 | cpl, 11, cpl));
  for (const seg of [SREG.DS, SREG.ES, SREG.SS, SREG.FS, SREG.GS]) segments.set(seg, flat(16 | cpl, 3, cpl));
  vcpu.arch.cr0 |= CR0.PE;
  vcpu.setRegs({ rip: BigInt(CODE), rsp: STACK, rax: 0x11223344n, rbx: BigInt(DEVICE), rcx: 2n, rdx: 0x3f8n });
  vcpu.arch.requests = 0;
  return { ...scripted, length: BigInt(bytes.length) };
}

/** Emulate, answering every read of user space with `answers` in turn; what was asked of it, and how it ended. */
export function drive(
  vcpu: KvmVcpu,
  answers: readonly number[] = [],
  options: EmulateOptions = {},
): { exits: string[]; result: string } {
  const exits: string[] = [];
  let left = [...answers];
  let result: string = emulateInstruction(vcpu, options);
  for (let i = 0; result === "user_exit" && i < 20; i++) {
    const exit = vcpu.exit as VcpuExit;
    exits.push(describeExit(exit));
    const isRead =
      (exit.reason === "mmio" && !exit.mmio.isWrite) || (exit.reason === "io" && exit.io.direction === "in");
    if (isRead) {
      const data = exit.reason === "mmio" ? exit.mmio.data : exit.io.data;
      data.fill(left[0] ?? 0);
      left = left.slice(1);
    }
    const complete = vcpu.completeUserspaceIo;
    vcpu.completeUserspaceIo = undefined;
    vcpu.exit = undefined;
    result = complete?.() === true ? "done" : "user_exit";
  }
  return { exits, result };
}

/** An exit in one line. */
export function describeExit(exit: VcpuExit): string {
  const hex = (data: Uint8Array): string => [...data].map((b) => b.toString(16).padStart(2, "0")).join("");
  if (exit.reason === "mmio") {
    const { address, isWrite, length, data } = exit.mmio;
    return `${isWrite ? "write" : "read"} ${address.toString(16)} ${length}${isWrite ? ` ${hex(data)}` : ""}`;
  }
  if (exit.reason === "io")
    return `${exit.io.direction} ${exit.io.port.toString(16)} ${exit.io.size} ${hex(exit.io.data)}`;
  return exit.reason;
}
