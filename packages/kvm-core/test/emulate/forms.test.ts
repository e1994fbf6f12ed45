import { CR0, CR4, EFER, RFLAGS } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { REG, SREG } from "../../src/contract/index.js";
import { emulateInstruction } from "../../src/emulate/instruction.js";
import type { KvmVcpu } from "../../src/vcpu.js";
import { CODE, DEVICE, flat } from "../support/emulation.js";
import { scriptedVcpu } from "../support/scripted.js";

type Mode = 16 | 32 | 64;

const RAM = 0x5000;
const BYTES = 64;
const ARITHMETIC = RFLAGS.CF | RFLAGS.PF | RFLAGS.AF | RFLAGS.ZF | RFLAGS.SF | RFLAGS.OF;

/** Opcode bytes, the reg field of ModRM, immediate bytes; and the modes that have the form, unless all do. */
type Form = readonly [name: string, opcode: readonly number[], reg: number, imm?: readonly number[], modes?: Mode[]];

const TWO = [0x66] as const;
const LOCK = [0xf0] as const;
const arithmetic = ["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"];
const group = (names: readonly string[], opcode: readonly number[], imm: readonly number[] = [], first = 0): Form[] =>
  names.map((name, i) => [`${name} ${opcode.map((b) => b.toString(16)).join(" ")}`, opcode, first + i, imm]);

/** Every kind of access to a memory operand, by its encoding with [rBX]. Register operands are CL, DX, ESI and so on. */
const FORMS: readonly Form[] = [
  ...arithmetic.flatMap((name, i): Form[] => [
    [`${name} m8, r8`, [8 * i], 1],
    [`${name} m, r`, [8 * i + 1], 6],
    [`${name} m16, r16 with the prefix`, [...TWO, 8 * i + 1], 6],
    [`${name} r8, m8`, [8 * i + 2], 1],
    [`${name} r, m`, [8 * i + 3], 6],
    ...(name === "cmp" ? [] : ([[`lock ${name} m, r`, [...LOCK, 8 * i + 1], 6]] as Form[])),
  ]),
  ...group(arithmetic, [0x80], [0x9c]),
  ...group(arithmetic, [0x83], [0x85]),
  ...group(["rol", "ror", "rcl", "rcr", "shl", "shr"], [0xc0], [3]),
  ...group(["rol", "ror", "rcl", "rcr", "shl", "shr"], [0xc1], [3]),
  ...group(["rol", "ror", "rcl", "rcr", "shl", "shr"], [0xd1]),
  ...group(["rol", "ror", "rcl", "rcr", "shl", "shr"], [0xd3]),
  ["sar m, 1", [0xd1], 7],
  ["test m8, imm", [0xf6], 0, [0x55]],
  ["not m", [0xf7], 2],
  ["neg m8", [0xf6], 3],
  ["mul m", [0xf7], 4],
  ["imul m8", [0xf6], 5],
  ["imul r, m", [0x0f, 0xaf], 6],
  ["imul r, m, imm8", [0x6b], 6, [0xf9]],
  ["div m8", [0xf6], 6],
  ["inc m8", [0xfe], 0],
  ["lock dec m", [...LOCK, 0xff], 1],
  ["test m, r", [0x85], 6],
  ["mov m8, r8", [0x88], 1],
  ["mov m, r", [0x89], 6],
  ["mov r, m", [0x8b], 6],
  ["mov m8, imm", [0xc6], 0, [0x77]],
  ["mov m16, sreg", [0x8c], 3],
  ["movzx r, m8", [0x0f, 0xb6], 6],
  ["movzx r, m16", [0x0f, 0xb7], 6],
  ["movsx r, m8", [0x0f, 0xbe], 6],
  ["movsx r, m16", [0x0f, 0xbf], 6],
  ["movsxd r, m32", [0x48, 0x63], 6, [], [64]],
  ["xchg m8, r8", [0x86], 1],
  ["xchg m, r", [0x87], 6],
  ["xadd m8, r8", [0x0f, 0xc0], 1],
  ["lock xadd m, r", [...LOCK, 0x0f, 0xc1], 6],
  ["cmpxchg m8, r8", [0x0f, 0xb0], 1],
  ["lock cmpxchg m, r", [...LOCK, 0x0f, 0xb1], 6],
  ["lock cmpxchg8b m64", [...LOCK, 0x0f, 0xc7], 1],
  ["cmpxchg16b m128", [0x48, 0x0f, 0xc7], 1, [], [64]],
  ["bt m, imm", [0x0f, 0xba], 4, [5]],
  ["lock bts m, imm", [...LOCK, 0x0f, 0xba], 5, [6]],
  ["btr m, imm", [0x0f, 0xba], 6, [3]],
  ["btc m, imm", [0x0f, 0xba], 7, [2]],
  ["btc m, r", [0x0f, 0xbb], 2],
  ["bsf r, m", [0x0f, 0xbc], 6],
  ["bsr r, m", [0x0f, 0xbd], 6],
  ["shld m, r, imm", [0x0f, 0xa4], 6, [5]],
  ["shrd m, r, cl", [0x0f, 0xad], 6],
  ["cmovne r, m", [0x0f, 0x45], 6],
  ["sete m8", [0x0f, 0x94], 0],
  ["movbe r, m", [0x0f, 0x38, 0xf0], 6],
  ["movbe m, r", [0x0f, 0x38, 0xf1], 6],
  ["movnti m32, r32", [0x0f, 0xc3], 6],
  ["push m", [0xff], 6],
  ["pop m", [0x8f], 0],
  ["call m", [0xff], 2],
  ["jmp m", [0xff], 4],
  ["smsw m16", [0x0f, 0x01], 4],
  ["sgdt m", [0x0f, 0x01], 0],
  ["movups xmm, m128", [0x0f, 0x10], 3],
  ["movups m128, xmm", [0x0f, 0x11], 3],
  ["movaps xmm, m128", [0x0f, 0x28], 3],
  ["movaps m128, xmm", [0x0f, 0x29], 3],
  ["movdqu m128, xmm", [0xf3, 0x0f, 0x7f], 3],
  ["movdqa xmm, m128", [0x66, 0x0f, 0x6f], 3],
  ["movntps m128, xmm", [0x0f, 0x2b], 3],
  ["movss xmm, m32", [0xf3, 0x0f, 0x10], 3],
  ["movsd m64, xmm", [0xf2, 0x0f, 0x11], 3],
  ["movd m32, xmm", [0x66, 0x0f, 0x7e], 3],
  ["movq mm, m64", [0x0f, 0x6f], 3],
  ["movq m64, mm", [0x0f, 0x7f], 3],
  ["paddd xmm, m128", [0x66, 0x0f, 0xfe], 3],
  ["fnstcw m16", [0xd9], 7],
  ["fnstsw m16", [0xdd], 7],
  ["fldcw m16", [0xd9], 5],
  ["stmxcsr m32", [0x0f, 0xae], 3],
  ["fld m80", [0xdb], 5],
  ["fstp m64", [0xdd], 3],
];

/** ModRM of [rBX]: 16-bit addressing has another encoding for it. */
const modRm = (mode: Mode, reg: number): number => (reg << 3) | (mode === 16 ? 7 : 3);

/** Memory of a device, and what was asked of it. */
class DeviceMemory {
  readonly bytes = new Uint8Array(0x2000);
  accesses = 0;

  answer(vcpu: KvmVcpu): void {
    const { exit } = vcpu;
    if (exit?.reason !== "mmio") throw new Error(`the exit is ${String(exit?.reason)}`);
    const { address, isWrite, length, data } = exit.mmio;
    const at = address - DEVICE;
    if (length > 8 || at < 0 || at + length > this.bytes.length) throw new Error("no such access");
    this.accesses += 1;
    if (isWrite) this.bytes.set(data, at);
    else data.set(this.bytes.subarray(at, at + length));
  }
}

/** A vCPU about to execute `code` in one of the modes, with rBX pointing at `place`. */
function guest(mode: Mode, code: readonly number[], place: number) {
  const scripted = scriptedVcpu();
  const { vcpu, vm, stateOf } = scripted;
  vm.writeGuest(CODE, Uint8Array.from(code));
  const { segments } = stateOf(vcpu);
  const [base, offset] = mode === 16 ? [BigInt(place & ~0xffff), BigInt(place & 0xffff)] : [0n, BigInt(place)];
  const wide = { db: mode === 32, l: mode === 64 };
  segments.set(SREG.CS, { ...flat(8, 11), ...wide });
  for (const seg of [SREG.ES, SREG.SS, SREG.FS, SREG.GS]) segments.set(seg, { ...flat(16, 3), db: mode !== 16 });
  segments.set(SREG.DS, { ...flat(16, 3), base, db: mode !== 16 });
  vcpu.arch.cr0 |= CR0.PE;
  vcpu.arch.cr4 = CR4.OSFXSR;
  if (mode === 64) {
    // Identical 2-MiB pages.
    for (const [at, entry] of [[0x8000, 0x9007], [0x9000, 0xa007], [0xa000, 0x87]] as const) vm.writeGuest(at, Uint8Array.of(entry & 0xff, entry >> 8, 0, 0, 0, 0, 0, 0)); // prettier-ignore
    vcpu.arch.cr0 |= CR0.PG;
    vcpu.arch.cr4 |= CR4.PAE;
    vcpu.arch.efer = EFER.LME | EFER.LMA;
    vcpu.arch.cr3 = 0x8000n;
    vcpu.arch.regsAvail |= 1 << REG.CR3;
  }
  vcpu.setRegs({ rip: BigInt(CODE), rsp: 0x7000n, rax: 0x11n, rbx: offset, rcx: 0x203n, rdx: 0x1fn, rsi: 0x8765n });
  stateOf(vcpu).rflags = 2n | RFLAGS.CF;
  const fpu = vcpu.arch.guestFpu;
  for (let i = 32; i < 416; i++) fpu[i] = (7 * i) & 0xff;
  return { ...scripted, state: stateOf(vcpu) };
}

/** As an address it is canonical. */
const PATTERN = Uint8Array.from({ length: BYTES }, (_, i) => (i === 6 || i === 7 ? 0 : (37 * i + 0x81) & 0xff));
PATTERN[5] = 0x12;

/** Emulate until the instruction has ended, and give all that it may have changed. */
function outcome(mode: Mode, code: readonly number[], place: number) {
  const { vcpu, vm, state } = guest(mode, code, place);
  const device = new DeviceMemory();
  const at = place - DEVICE;
  const read = (): Uint8Array => {
    if (at >= 0) return device.bytes.slice(at, at + BYTES);
    return vm.readGuest(place, BYTES);
  };
  if (at >= 0) device.bytes.set(PATTERN, at);
  else vm.writeGuest(place, PATTERN);
  let done = emulateInstruction(vcpu) === "done";
  for (let i = 0; !done && i < 40; i++) {
    device.answer(vcpu);
    const complete = vcpu.completeUserspaceIo;
    vcpu.completeUserspaceIo = undefined;
    done = complete?.() === true;
  }
  const { pending, nr } = vcpu.arch.exception;
  const registers = { ...vcpu.getRegs(), rbx: 0n, rflags: state.rflags & ARITHMETIC };
  const fpu = [...vcpu.arch.guestFpu.subarray(0, 416)];
  const result = { done, exception: pending ? nr : undefined, registers, fpu, memory: [...read()] };
  return { result, accesses: device.accesses, stack: [...vm.readGuest(0x6fe0, 0x20)] };
}

describe.each([16, 32, 64] as const)("%d-bit code", (mode) => {
  const forms = FORMS.filter(([, , , , modes]) => modes === undefined || modes.includes(mode));
  const cases = forms.map(([name, opcode, reg, imm = []]) => ({ name, opcode, reg, imm }));
  it.each(cases)("does with a device what it does with memory: $name", ({ opcode, reg, imm }) => {
    const code = [...opcode, modRm(mode, reg), ...imm];
    const memory = outcome(mode, code, RAM);
    const device = outcome(mode, code, DEVICE);
    expect(memory.result).toMatchObject({ done: true, exception: undefined });
    expect(device.result).toEqual(memory.result);
    expect(device.stack).toEqual(memory.stack);
    expect(device.accesses).toBeGreaterThan(0);
  });

  it("crosses from one page of a device to the next", () => {
    // ADD both ways, XCHG, BTC, PUSH.
    for (const [reg, ...opcode] of [
      [6, 0x01],
      [6, 0x03],
      [6, 0x87],
      [2, 0x0f, 0xbb],
      [6, 0xff],
    ] as const) {
      const code = [...opcode, modRm(mode, reg)];
      const memory = outcome(mode, code, RAM - 1);
      const device = outcome(mode, code, DEVICE + 0xfff);
      expect(device.result).toEqual(memory.result);
      expect(device.accesses).toBeGreaterThan(1);
    }
  });
});
