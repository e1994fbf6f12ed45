import { Assembler, distance, mem, MSR, qword, reg, VECTOR } from "@tapvisor/x86-isa";

const { al, dx, ebx, ecx, rbp, rsp } = reg;

/** Guest physical address of the image: below 64 KiB, so that a gate's offset fits its first field. */
export const GUEST_ADDRESS = 0x8000;

const COM1 = 0x3f8;
const CODE64 = 0x08;
/** Present, DPL 0, 64-bit interrupt gate (SDM vol. 3, "64-Bit Mode IDT"). */
const INTERRUPT_GATE = 0x8e;
const READS = 5;

/**
 * 64-bit code that reads IA32_PAT five times. It prints a dot for each read that succeeds; its #GP handler prints an
 * exclamation mark and goes on with the next.
 */
export function assembleGuest(): Uint8Array {
  const a = new Assembler(64);
  a.lidt(mem("idtr")).mov(ebx, READS);
  a.label("read").lea(rbp, mem("next")).mov(ecx, MSR.IA32_PAT).rdmsr();
  print(a, ".");
  a.label("next").dec(ebx).jne("read");
  print(a, "\n");
  a.label("stop").cli().hlt().jmp("stop");

  a.label("generalProtection");
  print(a, "!");
  // Over the error code, and back to where RBP says.
  a.add(rsp, 8).mov(qword(rsp), rbp).iretq();

  a.section("data").align(16).label("idt");
  for (let vector = 0; vector < VECTOR.GP; vector++) a.dq(0, 0);
  a.dw("generalProtection", CODE64).db(0, INTERRUPT_GATE).dw(0).dd(0, 0);
  a.label("idtEnd")
    .label("idtr")
    .dw(distance("idtEnd", "idt", -1))
    .dq("idt");
  return a.assemble(GUEST_ADDRESS).bytes;
}

function print(a: Assembler, character: string): void {
  a.mov(al, character.charCodeAt(0)).mov(dx, COM1).out(dx, al);
}
