import { Assembler, mem, qword, reg, sym, type Bitness } from "@tapvisor/x86-isa";

const { rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, eax, ecx, ax, cr3, r8, r9, r10, r11, r12, r13, r14, r15 } = reg;

/** Where the random code lies, mapped for CPL 3 with all rights; the data that its registers point into follows it. */
export const WINDOW = 0x40_0000;
export const CODE_BYTES = 0x1_0000;
const DATA = WINDOW + 0x8_0000;
const USER_STACK = WINDOW + 0xc_0000;
const KERNEL_STACK = 0x8_0000;
/** The page directory entry of the window, in the tables that the loader of raw 64-bit code makes. */
const PML4 = 0x1000;
const PDPT = 0x2000;
const PAGE_DIRECTORY = 0x3000;

const SELECTOR = { KERNEL_CODE: 0x08, KERNEL_DATA: 0x10, USER_DATA: 0x1b, TSS: 0x28 } as const;
/** User code segments by code size: IA-32e mode runs all three. */
const USER_CODE = { 64: 0x23, 32: 0x3b, 16: 0x43 } as const;
const USER_CODE_DESCRIPTOR = {
  64: 0x00af_fb00_0000_ffffn,
  32: 0x00cf_fb00_0000_ffffn,
  // D clear, granularity kept: 16-bit code that reaches the window above 1 MiB.
  16: 0x008f_fb00_0000_ffffn,
} as const;

const ERROR_CODES = [8, 10, 11, 12, 13, 14, 17, 21];

/**
 * A guest that runs `code` at CPL 3 for ever. Every exception and interrupt goes to a handler that steps one byte on,
 * wraps around at the end of the code, and gives registers and flags sane values, so that no bytes stop it.
 */
export function randomGuest(code: Uint8Array, bitness: Bitness): Uint8Array {
  const a = new Assembler(64);
  // Open the window to CPL 3 at every level of the loader's page tables.
  for (const entry of [PML4, PDPT, PAGE_DIRECTORY + (WINDOW >> 21) * 8])
    a.or(qword({ disp: entry, absolute: true }), 4);
  a.mov(rax, cr3).mov(cr3, rax);
  a.lgdt(mem("gdtr")).lidt(mem("idtr"));
  a.mov(eax, SELECTOR.TSS).ltr(ax);
  // Interrupt gates need their offsets: fill the IDT from the table of stubs.
  a.mov(rsi, sym("stubs")).mov(rdi, sym("idt")).mov(ecx, 256);
  a.label("gate").mov(rax, qword(rsi));
  a.mov(mem(rdi), ax).mov(qword(rdi, 8), 0);
  a.mov(reg.edx, eax).and(reg.edx, 0xffff_0000n).or(reg.edx, 0xee00);
  a.mov(mem(rdi, 4), reg.edx).mov(reg.edx, SELECTOR.KERNEL_CODE).mov(mem(rdi, 2), reg.dx);
  a.add(rsi, 8).add(rdi, 16).dec(ecx).jnz("gate");
  a.mov(rax, WINDOW);
  a.jmp("resume");

  for (let vector = 0; vector < 256; vector++) {
    a.label(`stub${vector}`);
    if (!ERROR_CODES.includes(vector)) a.push(0);
    a.jmp("handler");
  }
  a.label("handler");
  a.mov(rax, qword(rsp, 8)).inc(rax);
  a.label("resume");
  a.sub(rax, WINDOW)
    .and(rax, CODE_BYTES - 1)
    .add(rax, WINDOW);
  a.mov(rsp, KERNEL_STACK);
  a.push(SELECTOR.USER_DATA).push(USER_STACK).push(0x202).push(USER_CODE[bitness]).push(rax);
  const pointers = [rbx, rsi, rdi, rbp, r8, r9, r10, r11];
  pointers.forEach((register, n) => a.mov(register, DATA + n * 0x1000 + 0x800));
  for (const register of [rcx, rdx, r12, r13, r14, r15]) a.and(register, 0xffff);
  a.mov(ecx, SELECTOR.USER_DATA);
  a.mov(reg.ds, ecx).mov(reg.es, ecx);
  a.iretq();

  a.align(16).label("stubs");
  for (let vector = 0; vector < 256; vector++) a.dq(sym(`stub${vector}`));
  a.align(16).label("gdt").dq(0, 0x00af_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn, 0x00cf_f300_0000_ffffn);
  a.dq(USER_CODE_DESCRIPTOR[64]);
  // The TSS descriptor's base is below 16 MiB: filled in from the label by the two words that hold it.
  a.label("tssDescriptor").dq(0, 0);
  a.dq(USER_CODE_DESCRIPTOR[32], USER_CODE_DESCRIPTOR[16]).label("gdtEnd");
  a.align(16)
    .label("tss")
    .dd(0)
    .dq(KERNEL_STACK, 0, 0, 0)
    .zero(104 - 36);
  a.label("gdtr").dw(0x47).dq(sym("gdt"));
  a.label("idtr").dw(0xfff).dq(sym("idt"));
  a.align(16).label("idt").zero(4096);

  const origin = 0x10_0000;
  const image = a.assemble(origin);
  const at = (label: string): number => Number((image.symbols.get(label) ?? 0n) - BigInt(origin));
  const tss = BigInt(origin + at("tss"));
  const descriptor = 0x67n | ((tss & 0xff_ffffn) << 16n) | (0x89n << 40n);
  new DataView(image.bytes.buffer, image.bytes.byteOffset).setBigUint64(at("tssDescriptor"), descriptor, true);

  const whole = new Uint8Array(WINDOW - origin + CODE_BYTES);
  whole.set(image.bytes);
  whole.set(code.subarray(0, CODE_BYTES), WINDOW - origin);
  return whole;
}
