import { expect, it } from "vitest";
import { reg } from "@tapvisor/x86-isa";
import { file, tapvisor } from "./support/command.js";
import { debugExit, kernel } from "./support/kernels.js";

const { eax, ecx, edx } = reg;
const IA32_EFER = 0xc000_0080;
const IA32_STAR = 0xc000_0081;
const SCE = 1;

/** A guest without an IDT: where SYSCALL raises #UD it ends by a triple fault. */
const image = (): string =>
  file(
    "legacy-syscall",
    kernel((a) => {
      a.mov(ecx, IA32_EFER).rdmsr().or(eax, SCE).wrmsr();
      a.mov(ecx, IA32_STAR).mov(eax, "target").mov(edx, 8).wrmsr();
      a.syscall();
      a.label("after");
      debugExit(a, 2);
      a.label("target").cmp(ecx, "after").jne("wrong");
      debugExit(a, 21);
      a.label("wrong");
      debugExit(a, 3);
    }),
  );

it("SYSCALL outside 64-bit mode is emulated, with its return address in ECX", async () => {
  expect((await tapvisor(["run", image()])).status).toBe((21 << 1) | 1);
});

it("SYSCALL outside 64-bit mode is #UD for a guest that is given Intel's vendor string", async () => {
  expect((await tapvisor(["run", image(), "--cpu", "skylake-server,vendor=GenuineIntel"])).status).toBe(0);
});
