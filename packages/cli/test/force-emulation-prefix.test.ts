import { expect, it } from "vitest";
import { reg } from "@tapvisor/x86-isa";
import { file, tapvisor } from "./support/command.js";
import { debugExit, kernel } from "./support/kernels.js";

const { eax, ecx } = reg;

/** A guest without an IDT: where the prefix raises #UD it ends by a triple fault. */
const image = (): string =>
  file(
    "force-emulation-prefix",
    kernel((a) => {
      a.mov(eax, 20).mov(ecx, 1);
      a.ud2().db(0x6b, 0x76, 0x6d).add(eax, ecx).out(0xf4, eax);
      debugExit(a, 2);
    }),
  );

it("the forced-emulation prefix has the instruction behind it emulated, when asked for", async () => {
  expect((await tapvisor(["run", image(), "--force-emulation-prefix"])).status).toBe((21 << 1) | 1);
});

it("the forced-emulation prefix is an undefined instruction otherwise", async () => {
  expect((await tapvisor(["run", image()])).status).toBe(0);
});
