import { describe, expect, it } from "vitest";
import { distance, mem, reg, sym } from "@tapvisor/x86-isa";
import { file, tapvisor } from "./support/command.js";
import { kernel } from "./support/kernels.js";

const { eax, esp } = reg;

describe("nothing outlives its budget", () => {
  it.each([
    ["a handler that faults on its first instruction", "handler"],
    ["a loop that only exits", "exits"],
    ["a jump to itself", "spin"],
  ])("%s", async (_, which) => {
    const image = file(
      which,
      kernel((a) => {
        a.mov(esp, 0x700_0000);
        if (which === "handler") a.lidt(mem("idtr"));
        else a.jmp(which);
        a.label("handler").ud2();
        a.label("exits").xor(eax, eax).cpuid().out(0x80, eax).jmp("exits");
        a.label("spin").jmp("spin");
        // #UD leads to the UD2 that raised it.
        a.align(8).label("idt");
        for (let vector = 0; vector < 6; vector++) a.dq(0);
        // The image lies just above 1 MiB: the high half of every address is 0x10.
        a.dw(sym("handler", -0x10_0000)).dw(8, 0x8e00, 0x10).label("idtEnd");
        a.label("idtr")
          .dw(distance("idtEnd", "idt", -1))
          .dd("idt");
      }),
    );
    expect((await tapvisor(["run", image, "--max-instructions", "100_000"])).status).toBe(5);
  });
});
