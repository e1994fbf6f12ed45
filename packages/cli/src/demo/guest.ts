import {
  Assembler,
  byte,
  CR0,
  CR4,
  distance,
  dword,
  EFER,
  far,
  mem,
  MSR,
  qword,
  reg,
  VECTOR,
  APIC_DEFAULT_PHYS_BASE,
} from "@tapvisor/x86-isa";

const { rax, rbx, rcx, rdx, rdi, rsi, rsp, rbp, esi, eax, ecx, edx, ebx, edi, esp, ax, bx, dx, si, sp, al, cr0, cr2, cr3, cr4, ds, es, ss } = reg; // prettier-ignore

/** Guest physical address of the image, and of its first instruction. */
export const DEMO_ADDRESS = 0x8000;

const COM1 = 0x3f8;
const LINE_STATUS = COM1 + 5;
const TRANSMITTER_EMPTY = 0x20;
const CODE64 = 0x08;
const DATA = 0x10;
const CODE32 = 0x18;
/** Page tables: PML4, PDPT, page directories of the first and the fourth GiB. */
const PML4 = 0x10000;
const PDPT = 0x11000;
const FIRST_GIB = 0x12000;
const FOURTH_GIB = 0x13000;
const STACK = 0x80000;
const SIEVE = 0x20_0000;
const SIEVE_SIZE = 10_000;
const TABLE = 0x3;
const LARGE_PAGE = 0x83;
const UNCACHED_LARGE_PAGE = 0x9b;
/** Not mapped at first: the page-fault handler maps it. */
const UNMAPPED = 0x4000_0000;
/** Nobody answers there. */
const EMPTY_BUS = 0xd000_0000;
const LAPIC = APIC_DEFAULT_PHYS_BASE;
const LAPIC_REGISTER = { ID: 0x20, VERSION: 0x30, EOI: 0xb0, SPURIOUS: 0xf0, LVT_TIMER: 0x320, INITIAL_COUNT: 0x380, DIVIDE: 0x3e0 } as const; // prettier-ignore
const TIMER_VECTOR = 0x20;
const TIMER_COUNT = 1_000_000;
const TICKS = 5;
const NO_SUCH_MSR = 0x1234_5678;

/**
 * The guest of `tapvisor demo`: goes from real mode through protected mode to long mode, faults and recovers, reads
 * and writes MMIO, takes timer interrupts, computes, and halts. It tells every step on the serial port.
 */
export function assembleDemo(): Uint8Array {
  const a = new Assembler(16);
  realMode(a);
  protectedMode(a);
  longMode(a);
  subroutines(a);
  handlers(a);
  tables(a);
  return a.assemble(DEMO_ADDRESS).bytes;
}

/** Put a string into the data section, and the code that prints it here. Each is said in one place only. */
function say(a: Assembler, text: string): void {
  const label = `text: ${text}`;
  a.section("data").label(label).asciz(text).section("text");
  a.lea(rsi, mem(label)).call("puts");
}

function realMode(a: Assembler): void {
  a.cli().xor(ax, ax).mov(ds, ax).mov(es, ax).mov(ss, ax).mov(sp, DEMO_ADDRESS);
  a.section("data").label("hello").asciz("real mode: hello from 16-bit code\r\n").section("text");
  a.mov(si, "hello").call("puts16");
  a.lgdt(mem("gdtr")).mov(eax, cr0).or(al, Number(CR0.PE)).mov(cr0, eax);
  a.jmp(far(CODE32, "protected"));

  a.label("puts16").mov(bx, COM1);
  a.label("next16").lodsb().or(al, al).je("done16").mov(dx, bx).out(dx, al).jmp("next16");
  a.label("done16").ret();
}

function protectedMode(a: Assembler): void {
  a.bits(32).label("protected");
  a.mov(ax, DATA).mov(ds, ax).mov(es, ax).mov(ss, ax).mov(esp, STACK);
  // Map the first GiB one to one in 2 MiB pages, and the 2 MiB with the local APIC and those of an empty bus.
  a.mov(dword({ disp: PML4 }), PDPT | TABLE);
  a.mov(dword({ disp: PDPT }), FIRST_GIB | TABLE).mov(dword({ disp: PDPT + 24 }), FOURTH_GIB | TABLE);
  a.mov(edi, FIRST_GIB).mov(eax, LARGE_PAGE).mov(ecx, 512);
  a.label("map").mov(dword(edi), eax).add(edi, 8).add(eax, 0x20_0000).dec(ecx).jne("map");
  for (const address of [LAPIC, EMPTY_BUS]) {
    const entry = FOURTH_GIB + ((address >>> 21) & 511) * 8;
    a.mov(dword({ disp: entry }), ((address & ~0x1f_ffff) | UNCACHED_LARGE_PAGE) >>> 0);
  }
  a.section("data").label("flat").asciz("protected mode: 32 bits, page tables are ready\r\n").section("text");
  a.mov(esi, "flat").mov(edx, COM1);
  a.label("next32").lodsb().test(al, al).je("done32").out(dx, al).jmp("next32").label("done32");
  a.mov(eax, cr4).or(eax, Number(CR4.PAE)).mov(cr4, eax);
  a.mov(eax, PML4).mov(cr3, eax);
  a.mov(ecx, MSR.IA32_EFER).rdmsr().or(eax, Number(EFER.LME)).wrmsr();
  a.mov(eax, cr0).or(eax, Number(CR0.PG)).mov(cr0, eax);
  a.jmp(far(CODE64, "long"));
}

function longMode(a: Assembler): void {
  a.bits(64).label("long");
  a.mov(ax, DATA).mov(ds, ax).mov(es, ax).mov(ss, ax).mov(rsp, STACK).lidt(mem("idtr"));
  say(a, "long mode: paging is on, CPU vendor ");
  a.xor(eax, eax).cpuid();
  a.mov(dword("vendor"), ebx)
    .mov(dword({ disp: "vendor4" }), edx)
    .mov(dword({ disp: "vendor8" }), ecx);
  a.lea(rsi, mem("vendor")).call("puts").call("newline");

  faults(a);
  mmio(a);
  timer(a);
  primes(a);

  say(a, "halting\r\n");
  a.label("stop").cli().hlt().jmp("stop");
}

/** Each faulting instruction names where its handler goes on: in RBP. */
function faults(a: Assembler): void {
  a.lea(rbp, mem("afterDivide")).mov(eax, 1).xor(edx, edx).xor(ecx, ecx).div(ecx);
  a.label("afterDivide").lea(rbp, mem("afterMsr")).mov(ecx, NO_SUCH_MSR).rdmsr();
  a.label("afterMsr").mov(rbx, UNMAPPED).mov(qword(rbx, 8), 42).mov(rax, qword(rbx, 8));
  a.push(rax);
  say(a, "  page fault handled: read back ");
  a.pop(rax).call("decimal").call("newline");
}

function mmio(a: Assembler): void {
  say(a, "MMIO: local APIC version ");
  a.mov(rbx, LAPIC).mov(eax, dword(rbx, LAPIC_REGISTER.VERSION)).call("hex");
  say(a, ", an empty bus reads ");
  a.mov(rbx, EMPTY_BUS).mov(dword(rbx), 1).mov(eax, dword(rbx)).call("hex").call("newline");
}

function timer(a: Assembler): void {
  a.mov(rbx, LAPIC);
  a.mov(dword(rbx, LAPIC_REGISTER.SPURIOUS), 0x1ff).mov(dword(rbx, LAPIC_REGISTER.DIVIDE), 0xb);
  a.mov(dword(rbx, LAPIC_REGISTER.LVT_TIMER), TIMER_VECTOR);
  a.mov(dword(rbx, LAPIC_REGISTER.INITIAL_COUNT), TIMER_COUNT);
  // HLT directly after STI: the interrupt cannot come between them.
  a.label("wait").cli().cmp(dword("ticks"), TICKS).jae("ticked").sti().hlt().jmp("wait");
  a.label("ticked").sti();
}

/** The sieve of Eratosthenes: something to interpret. */
function primes(a: Assembler): void {
  a.mov(rdi, SIEVE).xor(eax, eax).mov(ecx, SIEVE_SIZE).cld().rep().stosb();
  a.mov(rdi, SIEVE).mov(rbx, 2).xor(eax, eax);
  a.label("candidate")
    .cmp(byte({ base: rdi, index: rbx }), 0)
    .jne("composite");
  a.inc(rax).mov(rcx, rbx).imul(rcx, rbx);
  a.label("strike").cmp(rcx, SIEVE_SIZE).jae("composite");
  a.mov(byte({ base: rdi, index: rcx }), 1)
    .add(rcx, rbx)
    .jmp("strike");
  a.label("composite").inc(rbx).cmp(rbx, SIEVE_SIZE).jb("candidate");
  a.push(rax);
  say(a, "primes below 10000: ");
  a.pop(rax).call("decimal").call("newline");
}

function subroutines(a: Assembler): void {
  // AL to the serial port, once its transmitter is empty.
  a.label("putc").push(rdx).push(rax).mov(dx, LINE_STATUS);
  a.label("busy").in(al, dx).test(al, TRANSMITTER_EMPTY).je("busy");
  a.pop(rax).mov(dx, COM1).out(dx, al).pop(rdx).ret();
  a.label("puts").lodsb().test(al, al).je("putsDone").call("putc").jmp("puts");
  a.label("putsDone").ret();
  a.label("newline").mov(al, 0x0d).call("putc").mov(al, 0x0a).jmp("putc");
  // RAX in decimal digits.
  a.label("decimal").push(rbx).push(rcx).push(rdx).mov(ecx, 10).xor(ebx, ebx);
  a.label("digit").xor(edx, edx).div(rcx).push(rdx).inc(ebx).test(rax, rax).jne("digit");
  a.label("digitOut").pop(rax).add(al, 0x30).call("putc").dec(ebx).jne("digitOut");
  a.pop(rdx).pop(rcx).pop(rbx).ret();
  // EAX in eight hexadecimal digits.
  a.label("hex").push(rbx).push(rcx).mov(ecx, 8).mov(ebx, eax);
  a.label("nibble").rol(ebx, 4).mov(eax, ebx).and(eax, 15).add(al, 0x30).cmp(al, 0x3a).jb("nibbleOut").add(al, 0x27);
  a.label("nibbleOut").call("putc").dec(ecx).jne("nibble").pop(rcx).pop(rbx).ret();
}

function handlers(a: Assembler): void {
  a.label("divideError");
  say(a, "#DE: division by zero, skipped\r\n");
  a.mov(qword(rsp), rbp).iretq();

  a.label("generalProtection");
  say(a, "#GP: no such MSR, skipped\r\n");
  a.add(rsp, 8).mov(qword(rsp), rbp).iretq();

  // Map what was missing, and let the instruction run again.
  a.label("pageFault").push(rax).push(rsi);
  say(a, "#PF at ");
  a.mov(rax, cr2).call("hex").call("newline");
  a.mov(dword({ disp: PDPT + 8, absolute: true }), FIRST_GIB | TABLE);
  a.pop(rsi).pop(rax).add(rsp, 8).iretq();

  a.label("tick").push(rax).push(rsi).push(rbx);
  a.inc(dword("ticks"));
  say(a, "timer interrupt ");
  a.mov(eax, dword("ticks")).call("decimal").call("newline");
  a.mov(rbx, LAPIC).mov(dword(rbx, LAPIC_REGISTER.EOI), 0);
  a.mov(dword(rbx, LAPIC_REGISTER.INITIAL_COUNT), TIMER_COUNT);
  a.pop(rbx).pop(rsi).pop(rax).iretq();
}

function tables(a: Assembler): void {
  a.section("data").align(8);
  a.label("vendor").dd(0).label("vendor4").dd(0).label("vendor8").dd(0, 0);
  a.label("ticks").dd(0);
  a.align(8).label("gdt").dq(0, 0x00af_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn, 0x00cf_9b00_0000_ffffn);
  a.label("gdtEnd")
    .label("gdtr")
    .dw(distance("gdtEnd", "gdt", -1))
    .dd("gdt")
    .dd(0);
  a.align(16).label("idt");
  const gates: Readonly<Record<number, string>> = {
    [VECTOR.DE]: "divideError",
    [VECTOR.GP]: "generalProtection",
    [VECTOR.PF]: "pageFault",
    [TIMER_VECTOR]: "tick",
  };
  for (let vector = 0; vector <= TIMER_VECTOR; vector++) {
    const handler = gates[vector];
    // 64-bit interrupt gate (SDM vol. 3, "64-Bit Mode IDT"); the handlers lie below 64 KiB.
    if (handler === undefined) a.dq(0, 0);
    else a.dw(handler, CODE64).db(0, 0x8e).dw(0).dd(0, 0);
  }
  a.label("idtEnd")
    .label("idtr")
    .dw(distance("idtEnd", "idt", -1))
    .dq("idt");
}
