import { loadLongMode } from "@tapvisor/sdk";
import { Assembler, dword, reg } from "@tapvisor/x86-isa";
import { customMachine, MEMORY, PLACES } from "./machine.js";

const { al, eax, ebx, ecx, edx, rbx, rdx } = reg;

const ADDRESS = 0x8000;
const NUMBERS = 100;

/** 64-bit code that has the device sum the numbers up to 100, and prints the sum in decimal. */
function assembleGuest(): Uint8Array {
  const a = new Assembler(64);
  a.mov(ebx, PLACES.SUM).mov(dword(rbx, 4), 0).mov(ecx, NUMBERS);
  a.label("add").mov(dword(rbx), ecx).dec(ecx).jne("add");
  a.mov(eax, dword(rbx, 4)).mov(ebx, 10).xor(ecx, ecx);
  a.label("digit").xor(edx, edx).div(ebx).push(rdx).inc(ecx).test(eax, eax).jne("digit");
  a.label("print").pop(rdx).mov(eax, edx).add(al, "0".charCodeAt(0)).out(PLACES.CONSOLE_PORT, al).dec(ecx).jne("print");
  a.label("stop").cli().hlt().jmp("stop");
  return a.assemble(ADDRESS).bytes;
}

/** Run the guest on the machine of our own: what it printed, why it stopped, and the state of the devices. */
export async function runGuest() {
  let text = "";
  const machine = customMachine((bytes) => void (text += new TextDecoder().decode(bytes)));
  machine.load(loadLongMode(assembleGuest(), { memorySize: MEMORY, address: ADDRESS }));
  const { stop } = await machine.run({ maxInstructions: 1_000_000 });
  const devices = Object.fromEntries(machine.devices.map(({ device }) => [device.name, device.saveState()]));
  machine.dispose();
  return { text, stop, devices };
}
