import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Assembler, byte as byteAt, dword, reg, word } from "@tapvisor/x86-isa";
import type { RunReport } from "../src/report.js";
import { file, missing, tapvisor } from "./support/command.js";
import { debugExit, kernel } from "./support/kernels.js";

const { al, bx, cx, eax, ebx, ecx, edi, edx, esi, si, ax, dx } = reg;

describe("--machine", () => {
  it("lists the machines in its help, and names them where there is none of the name", async () => {
    expect((await tapvisor(["run", "--help"])).output.replaceAll(/\s+/g, " ")).toMatch(/stock \(.*kut \(/);
    expect(await tapvisor(["run", "image", "--machine", "pc"])).toMatchObject({
      status: 2,
      errors: 'tapvisor: --machine: no machine "pc"; there are: stock, kut\n',
    });
  });
});

describe("the machine kut", () => {
  it("has a latch at 0xe0 that string instructions reach too", async () => {
    const image = file(
      "latch",
      kernel((a) => {
        a.mov(eax, 0x11223344).out(0xe0, eax).mov(eax, 0xaabb).out(0xe2, ax);
        a.mov(esi, 0x20_0000).mov(dword(esi), 0x99).mov(edx, 0xe1).cld().outsb();
        a.mov(edi, 0x20_0100).mov(edx, 0xe0).insd();
        a.cmp(dword({ disp: 0x20_0100 }), 0xaabb9944).jne("halt");
        debugExit(a, 4);
      }),
    );
    expect((await tapvisor(["run", image, "--machine", "kut"])).status).toBe(9);
    // The stock machine has no such port.
    expect((await tapvisor(["run", image])).status).toBe(0);
  });

  it("has memory at 0xff000000 that every access reaches by an exit", async () => {
    const report = missing("iomem.json");
    const image = file(
      "iomem",
      kernel((a) => {
        a.mov(ebx, 0xff00_0000).mov(dword(ebx, 0xfffc), 5).add(dword(ebx, 0xfffc), 7).mov(ecx, dword(ebx, 0xfffc));
        a.cmp(ecx, 12).jne("halt");
        debugExit(a, 4);
      }),
    );
    expect((await tapvisor(["run", image, "--machine", "kut", "--report", report])).status).toBe(9);
    const { exits } = JSON.parse(readFileSync(report, "utf8")) as RunReport;
    // A write, the two halves of a read-modify-write, and a read.
    expect(exits["user:mmio"]).toBe(4);
  });

  it("drops the mapping of a page at port 0xe4, and nothing of what is in it", async () => {
    const violations = async (name: string, flush: boolean) => {
      const report = missing(`${name}.json`);
      const image = file(
        name,
        kernel((a) => {
          a.mov(ebx, 0x40_0000).mov(dword(ebx), 0x1234).mov(eax, ebx);
          if (flush) a.out(0xe4, eax);
          a.cmp(dword(ebx), 0x1234).jne("halt");
          debugExit(a, 4);
        }),
      );
      expect((await tapvisor(["run", image, "--machine", "kut", "--report", report])).status).toBe(9);
      return (JSON.parse(readFileSync(report, "utf8")) as RunReport).exits["EPT_VIOLATION"] ?? 0;
    };
    expect(await violations("flush", true)).toBe((await violations("no-flush", false)) + 1);
  });

  it("raises the line of a GSI at port 0x2000 and on", async () => {
    // Line 14 by the I/O APIC to the ISA vector 0x41; HLT ends with it, and the local APIC has it in service.
    const image = file(
      "lines",
      kernel((a) => {
        a.mov(ebx, 0xfec0_0000)
          .mov(dword(ebx), 0x10 + 2 * 14)
          .mov(dword(ebx, 0x10), 0x41);
        a.mov(ebx, 0xfee0_0000).mov(dword(ebx, 0xf0), 0x1ff);
        a.mov(edx, 0x200e).mov(eax, 1).out(dx, eax);
        // IRR, the word of vectors 0x40 to 0x5f.
        a.cmp(dword(ebx, 0x220), 2).jne("halt");
        debugExit(a, 4);
      }),
    );
    expect((await tapvisor(["run", image, "--machine", "kut"])).status).toBe(9);
  });

  it("has a timer whose interrupts the handlers of its firmware end", async () => {
    // Real mode at 0x8000: three ticks wake it; the fourth time it looks, 55 ms have gone by each time.
    const a = new Assembler(16);
    a.sti().mov(cx, 3).label("wait").hlt().loop("wait");
    a.mov(al, 6).out(0xf4, al);
    const image = file("ticks", a.assemble(0x7c00).bytes);
    const run = (...flags: string[]) =>
      tapvisor(["run", image, "--format", "real", "--max-instructions", "1e5", ...flags]);
    expect((await run("--machine", "kut")).status).toBe(13);
    // The stock machine's timer is not programmed: it halts for good.
    expect((await run()).status).toBe(0);
  });

  it("sleeps in S3 until the alarm of its clock, and goes on at the waking vector with its memory kept", async () => {
    const wake = new Assembler(16);
    // In real mode: the word that was left, and a register that lost its power.
    wake.mov(bx, word(0x500)).add(bx, si).mov(ax, bx).out(0xf4, ax).hlt();
    const code = wake.assemble(0).bytes;
    const image = (name: string, alarm: boolean) =>
      file(
        name,
        kernel((a) => {
          for (const [at, byte] of code.entries()) a.mov(byteAt({ disp: 0x1000 + at }), byte);
          // The FACS is the first table.
          a.mov(dword({ disp: 0xf_004c }), 0x1000)
            .mov(word({ disp: 0x500 }), 0x21)
            .mov(esi, 7);
          for (const index of [1, 3, 5]) a.mov(al, index).out(0x70, al).mov(al, 0xff).out(0x71, al);
          a.mov(al, 11)
            .out(0x70, al)
            .mov(al, alarm ? 0x22 : 0x02)
            .out(0x71, al);
          a.mov(edx, 0x602).mov(eax, 0x400).out(dx, ax);
          a.mov(edx, 0x604).mov(eax, 0x2400).out(dx, ax);
          debugExit(a, 1);
        }),
      );
    expect((await tapvisor(["run", image("s3", true), "--machine", "kut", "--smp", "2"])).status).toBe(0x43);
    // Nothing wakes it without the alarm.
    expect((await tapvisor(["run", image("s3-forever", false), "--machine", "kut"])).status).toBe(0);
  });
});
