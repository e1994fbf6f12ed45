import { Code, MemorySizeExt, OpKind, Register } from "../../src/decode/iced.js";
import { generalRegister } from "../../src/index.js";
import { CODE, WINDOW, WINDOW_BYTES } from "./layout.js";
import { getPart, NARROW_DOUBLE_SHIFT, pickRegister, setPart, type Draft } from "./operands.js";

const RSP = 4;
const STACK = /^(Push|Pop(?!cnt)|Call|Ret|Enter|Leave)/;

const WIDTH_REGISTERS: Readonly<Record<2 | 4 | 8, readonly [si: Register, di: Register, cx: Register]>> = {
  2: [Register.SI, Register.DI, Register.CX],
  4: [Register.ESI, Register.EDI, Register.ECX],
  8: [Register.RSI, Register.RDI, Register.RCX],
};

/** Registers that a family of instructions takes for granted, chosen so that the case is worth running. */
export function setImplicit(d: Draft): void {
  const { rng, mnemonic, form } = d;
  const stack = (value: number): void => {
    d.gprs[RSP] = BigInt(WINDOW + value);
  };
  stack(288 + rng.below(16) * (rng.chance(1, 4) ? 1 : 8));
  switch (mnemonic) {
    case "Div":
    case "Idiv": {
      if (rng.chance(1, 4)) break;
      const info = Code[form.code] ?? "";
      const width = info.includes("rm8") ? 8 : info.includes("rm16") ? 16 : info.includes("rm32") ? 32 : 64;
      const rax = d.gprs[0] ?? 0n;
      const low = BigInt.asUintN(width, rax);
      const signed = mnemonic === "Idiv" && BigInt.asIntN(width, low) < 0n;
      const high = BigInt.asUintN(width, (signed ? -1n : 0n) + (rng.chance(1, 3) ? rng.pick([1n, -1n, 2n]) : 0n));
      if (width === 8) d.gprs[0] = (rax & ~0xffffn) | (high << 8n) | low;
      else setPart(d, width === 16 ? Register.DX : width === 32 ? Register.EDX : Register.RDX, high);
      break;
    }
    case "Leave":
    case "Enter":
      d.gprs[5] = BigInt(WINDOW + 320 + rng.below(16) * 8);
      if (mnemonic === "Enter") stack(256 + rng.below(16) * (rng.chance(1, 4) ? 1 : 8));
      break;
    case "Loop":
    case "Loope":
    case "Loopne":
    case "Jcxz":
    case "Jecxz":
    case "Jrcxz":
      if (rng.chance(1, 2))
        d.gprs[1] = (d.gprs[1] ?? 0n) & rng.pick([0n, 1n, 0xffff_0000n, 0xffff_ffff_0000_0000n, 0xffff_0001n]);
      break;
    case "Pcmpestrm":
    case "Pcmpestri":
    case "Pcmpestrm64":
    case "Pcmpestri64":
      // Lengths of the two strings, the valid ones and some that are cut to them.
      for (const register of [0, 2])
        if (rng.chance(3, 4)) d.gprs[register] = BigInt.asUintN(64, BigInt(rng.below(50) - 20));
      break;
    default:
  }
}

export function setString(d: Draft): void {
  const { rng, form } = d;
  const [si, di, cx] = WIDTH_REGISTERS[d.addressBytes];
  const place = (): bigint => BigInt(WINDOW + 160 + rng.below(160));
  const from = place();
  setPart(d, si, from);
  setPart(d, di, rng.chance(1, 3) ? from + BigInt(rng.below(17) - 8) : place());
  if (form.repeat !== "") setPart(d, cx, BigInt(rng.pick([0, 1, 2, 3, 5, 8, 12])));
  // Runs of equal bytes, so that REPE and REPNE get past the first element.
  if (rng.chance(2, 3)) d.memory.fill(rng.pick([0, 0xff, 0x41]), 100, 400);
  if (rng.chance(1, 2)) d.memory[160 + rng.below(160)] = rng.below(256);
  if (rng.chance(1, 3)) d.gprs[0] = rng.pick([0n, 0x4141_4141_4141_4141n, 0xffff_ffff_ffff_ffffn]);
}

/**
 * After the operands are chosen: values in memory and registers that a family needs to be worth running.
 *
 * @returns false if the draft cannot be used
 */
export function adjust(d: Draft): boolean {
  const { rng, mnemonic, form, instruction: i } = d;
  const write = (address: bigint, value: bigint, size: number): void => {
    const at = Number(address) - WINDOW;
    for (let n = 0; n < size; n++) d.memory[at + n] = Number((value >> BigInt(8 * n)) & 0xffn);
  };
  const codeTarget = (): bigint => BigInt((form.bitness === 16 ? 0 : CODE) + 0x180 + rng.below(0x4000));
  const memoryAddress = (): bigint | undefined => {
    if (i.memoryBase === Register.RIP || i.memoryBase === Register.EIP) return BigInt.asUintN(64, i.memoryDisplacement);
    const sum =
      getPart(d, i.memoryBase) +
      getPart(d, i.memoryIndex) * BigInt(i.memoryIndexScale) +
      BigInt.asUintN(64, i.memoryDisplacement);
    return BigInt.asUintN(d.addressBytes * 8, sum);
  };
  const inWindow = (address: bigint | undefined): address is bigint =>
    address !== undefined && address >= BigInt(WINDOW) && address < BigInt(WINDOW + WINDOW_BYTES - 32);
  // An address through the stack pointer has moved it. In a small address space it may then meet the recorder's own memory.
  if (STACK.test(mnemonic) && form.bitness !== 64 && !inWindow(d.gprs[RSP])) return false;
  if (["Bt", "Bts", "Btr", "Btc"].includes(mnemonic) && form.variant === "memory" && i.op1Kind === OpKind.Register) {
    // An index register that is part of the address would lead out of the window.
    const size = generalRegister(i.op1Register)?.size ?? 8;
    const used = [i.memoryBase, i.memoryIndex].map((register) => generalRegister(register)?.index);
    let register = i.op1Register;
    while (used.includes(generalRegister(register)?.index)) register = pickRegister(d, size);
    i.op1Register = register;
    setPart(d, register, BigInt.asUintN(size * 8, BigInt(rng.below(1000) - 400)));
  }
  if (NARROW_DOUBLE_SHIFT.test(Code[form.code] ?? "") && i.op2Kind === OpKind.Register) {
    const base = [i.memoryBase, i.memoryIndex].some((register) => generalRegister(register)?.index === 1);
    if (base && form.variant === "memory") return false;
    setPart(d, Register.CL, BigInt(rng.below(17) | (rng.below(8) << 5)));
  }
  if (mnemonic === "Ret") write(d.gprs[RSP] ?? 0n, codeTarget(), form.bitness === 64 || rng.chance(1, 2) ? 8 : 2);
  if (mnemonic === "Call" || mnemonic === "Jmp") {
    // A call through the stack pointer would push next to its own target, so that one stays in the window.
    if (form.variant === "register" && generalRegister(i.op0Register)?.index !== RSP) {
      setPart(d, i.op0Register, codeTarget());
    }
    const address = memoryAddress();
    if (form.variant === "memory" && inWindow(address)) {
      const size = MemorySizeExt.size(i.memorySize);
      write(address, codeTarget() & ((1n << BigInt(size * 8)) - 1n), size);
    }
  }
  if (mnemonic.startsWith("Cmpxchg") && rng.chance(1, 2)) {
    const address = memoryAddress();
    if (mnemonic === "Cmpxchg") {
      if (form.variant === "register") {
        const part = generalRegister(i.op0Register);
        if (part !== undefined && !part.high) d.gprs[0] = d.gprs[part.index] ?? 0n;
      } else if (
        inWindow(address) &&
        generalRegister(i.memoryBase)?.index !== 0 &&
        generalRegister(i.memoryIndex)?.index !== 0
      ) {
        write(address, d.gprs[0] ?? 0n, 8);
      }
    } else if (inWindow(address)) {
      const size = mnemonic === "Cmpxchg8b" ? 4 : 8;
      write(address, d.gprs[0] ?? 0n, size);
      write(address + BigInt(size), d.gprs[2] ?? 0n, size);
    }
  }
  if (mnemonic === "Bound") {
    const address = memoryAddress();
    const size = MemorySizeExt.size(i.memorySize) >> 1;
    if (inWindow(address) && rng.chance(2, 3)) {
      write(address, BigInt.asUintN(size * 8, -200n), size);
      write(address + BigInt(size), 200n, size);
      setPart(d, i.op0Register, BigInt.asUintN(size * 8, BigInt(rng.below(420) - 210)));
    }
  }
  return true;
}
