import { loadLongMode, type Interceptor } from "@tapvisor/sdk";
import { createMachine } from "tapvisor";
import { Assembler, reg } from "@tapvisor/x86-isa";

const { al, dx, eax, ebx, ecx, edx, r8d, r9d, esi } = reg;

const MEMORY = 4 << 20;
const ADDRESS = 0x8000;
const COM1 = 0x3f8;
const BRAND_FIRST = 0x8000_0002;
const BRAND_LAST = 0x8000_0004;

/** 64-bit code that prints the processor's name, as CPUID tells it. */
function assembleGuest(): Uint8Array {
  const a = new Assembler(64);
  a.mov(esi, BRAND_FIRST);
  a.label("leaf").mov(eax, esi).cpuid().mov(r8d, edx).mov(r9d, ecx);
  a.call("word").mov(eax, ebx).call("word").mov(eax, r9d).call("word").mov(eax, r8d).call("word");
  a.inc(esi).cmp(esi, BRAND_LAST).jbe("leaf");
  a.label("stop").cli().hlt().jmp("stop");

  // The four characters of EAX, up to a zero.
  a.label("word").mov(dx, COM1).mov(ecx, 4);
  a.label("letter").test(al, al).je("done").out(dx, al);
  a.label("done").shr(eax, 8).dec(ecx).jne("letter").ret();
  return a.assemble(ADDRESS).bytes;
}

/** Run the guest: what it printed, and the backend that it ran on. */
export async function processorName(
  interceptors: readonly Interceptor[],
  backend?: string,
): Promise<{ readonly backend: string | undefined; readonly name: string }> {
  let name = "";
  const machine = createMachine({
    memorySize: MEMORY,
    interceptors,
    ...(backend === undefined ? {} : { backend }),
    console: { write: (bytes) => void (name += new TextDecoder().decode(bytes)) },
  });
  const taken = machine.kvm.backend?.name;
  machine.load(loadLongMode(assembleGuest(), { memorySize: MEMORY, address: ADDRESS }));
  await machine.run({ maxInstructions: 1_000_000 });
  machine.dispose();
  return { backend: taken, name };
}
