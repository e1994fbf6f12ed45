import { reg } from "@tapvisor/x86-isa";
import { it } from "vitest";
import { Guest } from "/work/wt/vtx/packages/x86-cpu/test/vmx/guest.js";
it("x", () => {
  const guest = new Guest().code(64, (a) => { a.mov(reg.rax, 0x1122334455667788n); a.cpuid(); a.hlt(); });
  guest.write("EXCEPTION_BITMAP", 0xffffffff);
  console.log(guest.run(), guest.read("GUEST_RIP").toString(16), guest.read("VM_EXIT_INTR_INFO").toString(16), guest.read("VM_EXIT_INTR_ERROR_CODE"), guest.read("EXIT_QUALIFICATION").toString(16), guest.cpu.entryViolation);
});
import { decode } from "@tapvisor/x86-isa";
it("y", () => {
  const guest = new Guest().code(64, (a) => { a.mov(reg.rax, 0x1122334455667788n); a.cpuid(); a.hlt(); });
  const b = guest.host.memory.view(guest.at(0x8000), 16);
  console.log(Buffer.from(b).toString("hex"), decode(b, 0x8000n, 64));
});
