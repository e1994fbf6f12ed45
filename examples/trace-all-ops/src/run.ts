import { loadLongMode, type Interceptor } from "@tapvisor/sdk";
import { createMachine } from "tapvisor";
import { Assembler, MSR, reg } from "@tapvisor/x86-isa";

const { al, dx, eax, ecx } = reg;

const MEMORY = 4 << 20;
const ADDRESS = 0x8000;
const COM1 = 0x3f8;

/** 64-bit code that takes a few exits: CPUID, RDMSR, WRMSR, OUT, HLT. */
export function assembleGuest(): Uint8Array {
  const a = new Assembler(64);
  a.xor(eax, eax).cpuid();
  a.mov(ecx, MSR.IA32_PAT).rdmsr().wrmsr();
  a.mov(dx, COM1);
  for (const letter of "ok\n") a.mov(al, letter.charCodeAt(0)).out(dx, al);
  a.label("stop").cli().hlt().jmp("stop");
  return a.assemble(ADDRESS).bytes;
}

/** Compose a machine with an interceptor, run the guest to its end, and take the machine apart. */
export async function runGuest(interceptor: Interceptor): Promise<string> {
  let console = "";
  const machine = createMachine({
    memorySize: MEMORY,
    interceptors: [interceptor],
    console: { write: (bytes) => void (console += new TextDecoder().decode(bytes)) },
  });
  machine.load(loadLongMode(assembleGuest(), { memorySize: MEMORY, address: ADDRESS }));
  await machine.run({ maxInstructions: 1_000_000 });
  machine.dispose();
  return console;
}
