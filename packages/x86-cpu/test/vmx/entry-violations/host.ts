import { VM_EXIT } from "@tapvisor/x86-isa";
import { NOT_CANONICAL, PAST_PHYSICAL, prot, type Break } from "./break.js";

export const HOST: Readonly<Record<string, Break>> = {
  "HOST_CR0 has no bit that VMX operation forbids": (g) => g.clear("HOST_CR0", 0x20),
  "HOST_CR4 has no bit that VMX operation forbids": (g) => g.clear("HOST_CR4", 0x2000),
  "HOST_CR3 is within the physical-address width": (g) => g.write("HOST_CR3", PAST_PHYSICAL),
  "HOST_IA32_SYSENTER_ESP is canonical": (g) => g.write("HOST_IA32_SYSENTER_ESP", NOT_CANONICAL),
  "HOST_IA32_SYSENTER_EIP is canonical": (g) => g.write("HOST_IA32_SYSENTER_EIP", NOT_CANONICAL),
  "HOST_IA32_PAT, if loaded, holds memory types alone": (g) => {
    g.set("VM_EXIT_CONTROLS", VM_EXIT.LOAD_IA32_PAT);
    g.write("HOST_IA32_PAT", 0x0200000000000000n);
  },
  "HOST_IA32_EFER, if loaded, has no reserved bit": (g) => {
    g.set("VM_EXIT_CONTROLS", VM_EXIT.LOAD_IA32_EFER);
    g.write("HOST_IA32_EFER", 0x502);
  },
  "LMA and LME of HOST_IA32_EFER, if loaded, equal the host address-space size": (g) => {
    g.set("VM_EXIT_CONTROLS", VM_EXIT.LOAD_IA32_EFER);
    g.write("HOST_IA32_EFER", 0x100);
  },
  "HOST_ES_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_ES_SELECTOR", 3),
  "HOST_CS_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_CS_SELECTOR", 0x13),
  "HOST_SS_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_SS_SELECTOR", 0x1c),
  "HOST_DS_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_DS_SELECTOR", 1),
  "HOST_FS_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_FS_SELECTOR", 4),
  "HOST_GS_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_GS_SELECTOR", 2),
  "HOST_TR_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_TR_SELECTOR", 0x44),
  "HOST_CS_SELECTOR is not null": (g) => g.write("HOST_CS_SELECTOR", 0),
  "HOST_TR_SELECTOR is not null": (g) => g.write("HOST_TR_SELECTOR", 0),
  "HOST_FS_BASE is canonical": (g) => g.write("HOST_FS_BASE", NOT_CANONICAL),
  "HOST_GS_BASE is canonical": (g) => g.write("HOST_GS_BASE", NOT_CANONICAL),
  "HOST_TR_BASE is canonical": (g) => g.write("HOST_TR_BASE", NOT_CANONICAL),
  "HOST_GDTR_BASE is canonical": (g) => g.write("HOST_GDTR_BASE", NOT_CANONICAL),
  "HOST_IDTR_BASE is canonical": (g) => g.write("HOST_IDTR_BASE", NOT_CANONICAL),
  "the host address-space size is that of the processor": prot((g) => {
    g.clear("VM_EXIT_CONTROLS", VM_EXIT.HOST_ADDR_SPACE_SIZE);
    g.write("HOST_RIP", 0x1000);
  }),
  "HOST_CR4.PAE is set in a host of 64 bits": (g) => g.clear("HOST_CR4", 0x20),
  "HOST_RIP is canonical, and has 32 bits in a host of 32 bits": (g) => g.write("HOST_RIP", NOT_CANONICAL),
};
