import { Assembler, dword, reg } from "@tapvisor/x86-isa";

const { al, dx, eax, ecx, edx, rbx } = reg;

/** A port, and a guest physical address, that nobody answers at. */
const EMPTY_PORT = 0x2f0;
const EMPTY_ADDRESS = 0xd000_0000;

/** The same instruction over and over. */
function loopOf(prepare, instruction) {
  const a = new Assembler(64);
  prepare(a);
  a.label("again");
  instruction(a);
  a.jmp("again");
  return a;
}

/** Guests that exit all the time, by what they exit for. */
export const EXIT_LOOPS = {
  CPUID: loopOf(
    () => undefined,
    (a) => a.xor(eax, eax).cpuid(),
  ),
  "port write": loopOf(
    (a) => a.mov(dx, EMPTY_PORT),
    (a) => a.out(dx, al),
  ),
  "port read": loopOf(
    (a) => a.mov(dx, EMPTY_PORT),
    (a) => a.in(al, dx),
  ),
  "MMIO write": loopOf(
    (a) => a.mov(rbx, EMPTY_ADDRESS),
    (a) => a.mov(dword(rbx), ecx),
  ),
  "MMIO read": loopOf(
    (a) => a.mov(rbx, EMPTY_ADDRESS),
    (a) => a.mov(edx, dword(rbx)),
  ),
};

/** Instructions of one turn of a loop, in which it exits once. */
export const instructionsAnExit = (kind) => (kind === "CPUID" ? 3 : 2);
