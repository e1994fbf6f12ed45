import { loadLongMode, loadMultiboot } from "@tapvisor/sdk";
import { Assembler, dword, reg } from "@tapvisor/x86-isa";

export const MEMORY_SIZE = 64 << 20;
/** What a guest writes to its serial port after each turn of its kernel. */
export const RIGHT = ".".charCodeAt(0);
export const WRONG = "!".charCodeAt(0);

const ADDRESS = 0x10_0000;
const HEADER_BYTES = 32;
const STACK_TOP = 0x1f_0000;
const TURN_COUNTER = 0x1f_4000;
const PAGE_DIRECTORY = 0x1f_8000;
/** Where kernels have their data; all memory from here on is theirs. */
export const DATA = 0x20_0000;
const COM1 = 0x3f8;
const MULTIBOOT = { MAGIC: 0x1bad_b002, ADDRESS_FIELDS: 0x1_0000 };
const CR0 = { PG: 0x8000_0000, MP: 2, EM: 4 };
const CR4 = { PSE: 0x10, OSFXSR: 0x200, OSXMMEXCPT: 0x400 };

/** The general registers of pointer width, by the names that both widths share. */
function registersOf(bits) {
  const letter = bits === 64 ? "r" : "e";
  return Object.fromEntries(["ax", "bx", "cx", "dx", "si", "di", "bp", "sp"].map((name) => [name, reg[letter + name]]));
}

/**
 * The kernel over and over. A turn is `kernel.repeat` calls of it, so many that the report at its end, which is an exit
 * to the host, weighs nothing: whether the results were right, through the serial port.
 */
function assemble(kernel, bits, origin) {
  const a = new Assembler(bits);
  const r = registersOf(bits);
  if (bits === 32) enablePaging(a);
  if (kernel.sse) enableSse(a, r);
  a.mov(r.sp, STACK_TOP).cld();
  a.label("turn").mov(dword(TURN_COUNTER), kernel.repeat);
  a.label("again").call("kernel").mov(reg.ecx, kernel.expected).cmp(reg.eax, reg.ecx).jne("wrong");
  a.dec(dword(TURN_COUNTER)).jne("again").mov(reg.al, RIGHT);
  a.label("report").mov(reg.dx, COM1).out(reg.dx, reg.al).jmp("turn");
  a.label("wrong").mov(reg.al, WRONG).jmp("report");
  a.align(16).label("kernel");
  kernel.write(a, r, bits);
  return a.assemble(origin);
}

/** Map everything one to one in pages of 4 MiB: compiled code runs with paging on. */
function enablePaging(a) {
  const { eax, ecx, cr0, cr3, cr4 } = reg;
  a.mov(ecx, 1023);
  a.label("map").mov(eax, ecx).shl(eax, 22).or(eax, 0x83);
  a.mov(dword({ index: ecx, scale: 4, disp: PAGE_DIRECTORY }), eax)
    .dec(ecx)
    .jns("map");
  a.mov(eax, PAGE_DIRECTORY).mov(cr3, eax);
  a.mov(eax, cr4).or(eax, CR4.PSE).mov(cr4, eax);
  a.mov(eax, cr0).or(eax, CR0.PG).mov(cr0, eax);
}

/** What an operating system does before its programs may use SSE. */
function enableSse(a, r) {
  a.mov(r.ax, reg.cr4)
    .or(r.ax, CR4.OSFXSR | CR4.OSXMMEXCPT)
    .mov(reg.cr4, r.ax);
  a.mov(r.ax, reg.cr0).and(r.ax, ~CR0.EM).or(r.ax, CR0.MP).mov(reg.cr0, r.ax);
}

/** The kernel's 32-bit guest as a Multiboot image, for any machine that loads one. */
export function multibootImage(kernel) {
  const { bytes } = assemble(kernel, 32, ADDRESS + HEADER_BYTES);
  const image = new Uint8Array(HEADER_BYTES + bytes.length);
  const { MAGIC, ADDRESS_FIELDS } = MULTIBOOT;
  const header = [MAGIC, ADDRESS_FIELDS, -(MAGIC + ADDRESS_FIELDS), ADDRESS, ADDRESS, 0, 0, ADDRESS + HEADER_BYTES];
  new Uint32Array(image.buffer, 0, header.length).set(header);
  image.set(bytes, HEADER_BYTES);
  return image;
}

/** The kernel's 64-bit guest: its bytes, and where in memory they begin. */
export const longModeImage = (kernel) => ({ bytes: assemble(kernel, 64, ADDRESS).bytes, address: ADDRESS });

/** The kernel's guest as our machine loads it. */
export function guestImage(kernel, bits) {
  if (bits === 32) return loadMultiboot(multibootImage(kernel), { memorySize: MEMORY_SIZE });
  const { bytes, address } = longModeImage(kernel);
  return loadLongMode(bytes, { memorySize: MEMORY_SIZE, address });
}
