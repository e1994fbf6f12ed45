import { CPU_BASED, CR4, EXIT_REASON, SECONDARY_EXEC, mem, reg, type Assembler } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { Guest } from "./guest.js";

const { rax, rbx, rcx } = reg;

/** A linear address that no page is at. */
const UNMAPPED = 0x4000_0000n;

const UD = 6;
const GP = 13;
const PF = 14;

interface Row {
  readonly name: string;
  readonly code: (a: Assembler) => void;
  readonly controls?: (g: Guest) => void;
  /** The exit, or the vector of the exception. */
  readonly meets: { readonly exit: number } | { readonly exception: number };
}

const invpcid = (type: bigint, address: bigint) => (a: Assembler) =>
  void a.mov(rcx, type).mov(rbx, address).invpcid(rcx, mem(rbx));
const monitor = (extensions: bigint, address: bigint) => (a: Assembler) =>
  void a.mov(rcx, extensions).mov(rax, address).monitor();
const enableInvpcid = (g: Guest): void => g.set("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.ENABLE_INVPCID);
const invlpgExiting = (g: Guest): void => g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.INVLPG_EXITING);
const atPrivilege3 = (g: Guest): void => {
  // Every page is the user's too.
  const { memory } = g.host;
  for (const entry of [0x1000, 0x2000, 0x3000]) memory.writeU64(g.at(entry), memory.readU64(g.at(entry)) | 4n);
  g.write("GUEST_CS_AR_BYTES", 0xa0fb);
  g.write("GUEST_CS_SELECTOR", 0xb);
  for (const name of ["SS", "DS", "ES", "FS", "GS"] as const) {
    g.write(`GUEST_${name}_AR_BYTES`, 0xc0f3);
    g.write(`GUEST_${name}_SELECTOR`, 0x13);
  }
};

/** SDM vol. 3, "Relative Priority of Faults and VM Exits". */
const ROWS: readonly Row[] = [
  { name: "INVPCID without its control", code: invpcid(9n, UNMAPPED), meets: { exception: UD } },
  {
    name: "INVPCID without its control at CPL 3",
    code: invpcid(9n, UNMAPPED),
    controls: atPrivilege3,
    meets: { exception: UD },
  },
  {
    name: "intercepted INVPCID at CPL 3",
    code: invpcid(9n, UNMAPPED),
    controls: (g) => {
      enableInvpcid(g);
      invlpgExiting(g);
      atPrivilege3(g);
    },
    meets: { exception: GP },
  },
  {
    name: "intercepted INVPCID with a type and an operand that are none",
    code: invpcid(9n, UNMAPPED),
    controls: (g) => {
      enableInvpcid(g);
      invlpgExiting(g);
    },
    meets: { exit: EXIT_REASON.INVPCID },
  },
  {
    name: "INVPCID with a type that is none",
    code: invpcid(9n, UNMAPPED),
    controls: enableInvpcid,
    meets: { exception: GP },
  },
  {
    name: "INVPCID with an operand that is not mapped",
    code: invpcid(2n, UNMAPPED),
    controls: enableInvpcid,
    meets: { exception: PF },
  },
  {
    name: "intercepted MONITOR with extensions that are none",
    code: monitor(1n, 1n << 63n),
    controls: (g) => g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.MONITOR_EXITING),
    meets: { exit: EXIT_REASON.MONITOR_INSTRUCTION },
  },
  { name: "MONITOR with extensions that are none", code: monitor(1n, UNMAPPED), meets: { exception: GP } },
  { name: "MONITOR of an address that is not canonical", code: monitor(0n, 1n << 63n), meets: { exception: GP } },
  { name: "MONITOR of an address that is not mapped", code: monitor(0n, UNMAPPED), meets: { exception: PF } },
  {
    name: "intercepted MWAIT with extensions that are none",
    code: (a) => a.mov(rcx, 4n).mwait(),
    controls: (g) => g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.MWAIT_EXITING),
    meets: { exit: EXIT_REASON.MWAIT_INSTRUCTION },
  },
  { name: "MWAIT with extensions that are none", code: (a) => a.mov(rcx, 4n).mwait(), meets: { exception: GP } },
  {
    name: "RDTSCP without its control where CR4.TSD forbids it",
    code: (a) => a.rdtscp(),
    controls: (g) => {
      atPrivilege3(g);
      g.write("GUEST_CR4", g.read("GUEST_CR4") | CR4.TSD);
    },
    meets: { exception: UD },
  },
  {
    name: "intercepted RDTSCP where CR4.TSD forbids it",
    code: (a) => a.rdtscp(),
    controls: (g) => {
      atPrivilege3(g);
      g.set("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.RDTSCP);
      g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.RDTSC_EXITING);
      g.write("GUEST_CR4", g.read("GUEST_CR4") | CR4.TSD);
    },
    meets: { exception: GP },
  },
];

describe("of several conditions", () => {
  for (const { name, code, controls, meets } of ROWS) {
    it(`${name} meets ${"exit" in meets ? "the VM exit" : `exception ${meets.exception}`}`, () => {
      const guest = new Guest().code(64, (a) => {
        code(a);
        a.hlt();
      });
      guest.write("EXCEPTION_BITMAP", 0xffffffff);
      controls?.(guest);
      const reason = guest.run();
      if ("exit" in meets) expect(reason).toBe(meets.exit);
      else {
        expect(reason).toBe(EXIT_REASON.EXCEPTION_NMI);
        expect(Number(guest.read("VM_EXIT_INTR_INFO") & 0xffn)).toBe(meets.exception);
      }
    });
  }
});
