import { Assembler, reg } from "@tapvisor/x86-isa";

const { eax, edx, dx, al } = reg;
const LOAD_ADDRESS = 0x10_0000;
const HEADER_SIZE = 32;

/**
 * A Multiboot kernel in 32-bit code, loaded by the address fields of its header unless they are left to ELF headers.
 * `write` gets the assembler at the entry point; the label `halt` stops for good.
 */
export function kernel(write: (a: Assembler) => void, { addressFields = true } = {}): Uint8Array {
  const flags = addressFields ? 1 << 16 : 0;
  const a = new Assembler(32);
  a.label("header").dd(0x1badb002, flags, -(0x1badb002 + flags) >>> 0);
  a.dd("header", "header", 0, 0, "entry");
  a.label("entry");
  write(a);
  a.label("halt").cli().hlt().jmp("halt");
  return a.assemble(LOAD_ADDRESS).bytes;
}

/** Code that writes `value` to the debug-exit port. */
export function debugExit(a: Assembler, value: number): void {
  a.mov(eax, value).out(0xf4, eax);
}

/** Code that prints text on the serial port. */
export function print(a: Assembler, text: string): void {
  a.mov(edx, 0x3f8);
  for (const character of text) a.mov(al, character.charCodeAt(0)).out(dx, al);
}

/** An ELF32 executable with one segment at 1 MiB that holds `code`, entered behind the Multiboot header. */
export function elf(code: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(84 + code.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  const halves: Readonly<Record<number, number>> = { 16: 2, 18: 3, 40: 52, 42: 32, 44: 1 };
  const words: Readonly<Record<number, number>> = {
    20: 1, 24: LOAD_ADDRESS + HEADER_SIZE, 28: 52,
    52: 1, 56: 84, 60: LOAD_ADDRESS, 64: LOAD_ADDRESS, 68: code.length, 72: code.length,
  }; // prettier-ignore
  for (const [at, value] of Object.entries(halves)) view.setUint16(Number(at), value, true);
  for (const [at, value] of Object.entries(words)) view.setUint32(Number(at), value, true);
  bytes.set(code, 84);
  return bytes;
}
