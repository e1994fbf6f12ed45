import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { dword, reg } from "@tapvisor/x86-isa";
import { OP_CALLERS } from "../src/op-callers.generated.js";
import type { RunReport } from "../src/report.js";
import { file, missing, tapvisor } from "./support/command.js";
import { debugExit, kernel, print } from "./support/kernels.js";

const { eax, ebx, ecx, edx, esi, al, dx } = reg;

describe("exit status", () => {
  it.each([
    [0, 1],
    [1, 3],
    [38, 77],
    [63, 127],
  ])("debug-exit value %i is status %i, as in QEMU", async (value, status) => {
    const image = file(
      `exit${value}`,
      kernel((a) => debugExit(a, value)),
    );
    expect(await tapvisor(["run", image])).toEqual({ status, output: "", errors: "" });
  });

  it("a guest that halts for good is 0", async () => {
    expect(
      (
        await tapvisor([
          "run",
          file(
            "halt",
            kernel(() => {}),
          ),
        ])
      ).status,
    ).toBe(0);
  });

  it("a guest that shuts down by a triple fault is 0, reported as shutdown", async () => {
    const report = missing("triple.json");
    const image = file(
      "triple",
      kernel((a) => a.ud2()),
    );
    expect((await tapvisor(["run", image, "--report", report])).status).toBe(0);
    expect((JSON.parse(readFileSync(report, "utf8")) as RunReport).stop).toBe("shutdown");
  });

  it("a budget that ran out is 5, to the instruction", async () => {
    const report = missing("budget.json");
    const image = file(
      "loop",
      kernel((a) => a.label("loop").inc(eax).jmp("loop")),
    );
    const { status } = await tapvisor(["run", image, "--max-instructions", "123_457", "--report", report]);
    expect(status).toBe(5);
    expect(JSON.parse(readFileSync(report, "utf8"))).toMatchObject({
      stop: "budget",
      value: null,
      instructions: 123_457,
    });
  });
});

describe("what the guest gets", () => {
  it("its command line after the image's name, and the first module", async () => {
    const image = file(
      "args",
      kernel((a) => {
        // EBX: the boot information; its command line, a newline, then the module up to its end.
        a.mov(esi, dword(ebx, 16)).call("puts").mov(al, 0x0a).out(dx, al);
        a.mov(ecx, dword(ebx, 24)).mov(esi, dword(ecx)).call("puts");
        debugExit(a, 0);
        a.label("puts").mov(edx, 0x3f8);
        a.label("next").lodsb().test(al, al).je("done").out(dx, al).jmp("next");
        a.label("done").ret();
      }),
    );
    const initrd = file("initrd", "A=1\0");
    const { output } = await tapvisor(["run", image, "--append", "one two", "--initrd", initrd]);
    expect(output).toBe(`${image} one two\nA=1`);
  });

  it("what is typed, through its serial port", async () => {
    const image = file(
      "echo",
      kernel((a) => {
        a.label("poll").mov(edx, 0x3fd).in(al, dx).test(al, 1).je("poll");
        a.mov(edx, 0x3f8).in(al, dx).out(dx, al).cmp(al, 0x21).jne("poll");
        debugExit(a, 5);
      }),
    );
    expect(await tapvisor(["run", image], "hello!")).toMatchObject({ status: 11, output: "hello!" });
  });

  it("the vendor that --cpu names", async () => {
    const image = file(
      "vendor",
      kernel((a) => {
        a.xor(eax, eax).cpuid().mov(eax, ebx).mov(edx, 0x3f8);
        for (let i = 0; i < 4; i++) a.out(dx, al).shr(eax, 8);
        debugExit(a, 0);
      }),
    );
    expect((await tapvisor(["run", image])).output).toBe("Genu");
    expect((await tapvisor(["run", image, "--cpu", "skylake-server,vendor=AuthenticAMD"])).output).toBe("Auth");
  });

  it("a processor with narrower addresses and without the features that --cpu hides", async () => {
    const image = file(
      "narrow",
      kernel((a) => {
        // The bits of a physical address, and whether there is PCID (CPUID.1:ECX[17]).
        a.mov(eax, 0x80000008).cpuid().movzx(esi, al).shl(esi, 1);
        a.mov(eax, 1).cpuid().shr(ecx, 17).and(ecx, 1).or(ecx, esi).mov(eax, ecx).out(0xf4, eax);
      }),
    );
    const value = async (...flags: string[]) => (await tapvisor(["run", image, ...flags])).status >> 1;
    expect(await value()).toBe((46 << 1) | 1);
    expect(await value("--cpu", "skylake-server,phys-bits=36,-pcid")).toBe(36 << 1);
  });

  it("memory beyond 2 GiB, to its last page", async () => {
    const top = 0xbfff_fff0;
    const image = file(
      "high",
      kernel((a) => {
        a.mov(dword({ disp: top }), 0x1234)
          .mov(eax, dword({ disp: top }))
          .cmp(eax, 0x1234)
          .jne("halt");
        // Past the last page there is nothing to keep a value.
        a.mov(dword({ disp: top + 0x10 }), 0x1234)
          .cmp(dword({ disp: top + 0x10 }), -1)
          .jne("halt");
        debugExit(a, 9);
      }),
    );
    expect(await tapvisor(["run", image, "--memory", "3G"])).toEqual({ status: 19, output: "", errors: "" });
  });

  it("raw code in real mode and in long mode", async () => {
    // mov al, 3; out 0xf4, al: the same bytes in every mode.
    const code = file("raw", Uint8Array.of(0xb0, 3, 0xe6, 0xf4));
    expect((await tapvisor(["run", code, "--format", "real"])).status).toBe(7);
    expect((await tapvisor(["run", code, "--format", "long"])).status).toBe(7);
  });
});

describe("what the user gets", () => {
  const image = file(
    "talk",
    kernel((a) => {
      print(a, "hi");
      a.xor(eax, eax).cpuid();
      debugExit(a, 0);
    }),
  );

  it("a report with the stop, its value, instructions, exits and ops", async () => {
    const path = missing("report.json");
    await tapvisor(["run", image, "--report", path]);
    const report = JSON.parse(readFileSync(path, "utf8")) as RunReport;
    expect(report).toMatchObject({
      stop: "debug-exit",
      value: 0,
      exits: { IO_INSTRUCTION: 3, CPUID: 1, "user:io": 3 },
      ops: { vcpu_create: 1, hardware_setup: 1 },
    });
    // Those that exit are completed by the hypervisor; the processor retires the others.
    expect(report.instructions).toBe(5);
    expect(report.ops["run"]).toBe(report.ops["handle_exit"]);
  });

  it("the same in every run, byte for byte", async () => {
    const [one, two] = [missing("one.json"), missing("two.json")];
    await tapvisor(["run", image, "--report", one]);
    await tapvisor(["run", image, "--report", two]);
    expect(readFileSync(one, "utf8")).toBe(readFileSync(two, "utf8"));
  });

  it("statistics in words, beside the guest's console", async () => {
    const { output, errors } = await tapvisor(["run", image, "--stats"]);
    expect(output).toBe("hi");
    expect(errors).toMatch(/guest instructions in .* s, .* MIPS/);
    expect(errors).toMatch(/CPUID +1\n/);
    expect(errors).toMatch(/vcpu_create +1\n/);
  });

  it("a trace of the ops that were named, and of no other", async () => {
    const { errors } = await tapvisor(["run", image, "--trace=handle_exit,vcpu_create"]);
    const ops = new Set(
      errors
        .trim()
        .split("\n")
        .map((line) => /(\w+)\(/.exec(line)?.[1]),
    );
    expect([...ops].sort()).toEqual(["handle_exit", "vcpu_create"]);
  });

  it("a trace of every op where none is named, with the image after the flag", async () => {
    const { status, errors } = await tapvisor(["run", "--trace", image]);
    expect(status).toBe(1);
    expect(errors).toMatch(/ skip_emulated_instruction\(\) \[backend\]\n/);
    expect(errors).toMatch(/ hardware_setup\(\)\n/);
  });

  it("plugins that change what happens, from one file or several", async () => {
    const lie = `ops: { run: { after(call) { globalThis.runs = (globalThis.runs ?? 0) + 1; } } }`;
    const one = file("one.mjs", `export default { name: "one", ${lie} };`);
    const two = file("two.mjs", `export const list = [{ name: "two", ${lie} }, { name: "three", ${lie} }];`);
    const path = missing("plugged.json");
    await tapvisor(["run", image, "--plugin", one, "--plugin", two, "--report", path]);
    const { ops } = JSON.parse(readFileSync(path, "utf8")) as RunReport;
    expect((globalThis as { runs?: number }).runs).toBe(3 * (ops["run"] ?? 0));
  });

  it("status 2 and one line where the report cannot be written", async () => {
    const { status, errors } = await tapvisor(["run", image, "--report", missing("no/such/folder")]);
    expect([status, errors]).toEqual([2, expect.stringMatching(/^tapvisor: --report .*: no such file\n$/)]);
  });
});

describe("tapvisor ops", () => {
  it("lists every op with group, signature, status and hooks", async () => {
    const { status, output } = await tapvisor(["ops", "--json"]);
    const rows = JSON.parse(output) as {
      name: string;
      group: string;
      signature: string;
      status: string;
      called: string;
      callers: { package: string; file: string; function: string }[];
      hooks: string[];
    }[];
    expect(status).toBe(0);
    expect(rows.length).toBeGreaterThanOrEqual(111);
    expect(rows[0]?.name).toBe("cpu_has_kvm_support");
    expect(rows.find(({ name }) => name === "get_msr")).toMatchObject({
      group: "register-msr",
      signature: "(vcpu, msr) => boolean",
      status: "real",
      called: "core+backend",
      callers: OP_CALLERS.get_msr,
      hooks: [],
    });
    expect(rows.find(({ name }) => name === "set_cr3")).toMatchObject({
      status: "not called",
      called: "none",
      callers: [],
      awaits: expect.stringContaining("shadow paging"),
    });
    expect(rows.find(({ name }) => name === "pmu_ops.get_msr")?.status).toBe("ENOSYS");
    expect(rows.find(({ name }) => name === "vm_destroy")?.status).toBe("absent");
  });

  it("tells all about one op", async () => {
    const { output } = await tapvisor(["ops", "set_cr0"]);
    expect(output).toMatch(/^name +set_cr0\n/);
    expect(output).toMatch(/\ngroup +register-control\n/);
  });

  it("tells which side calls an op, and the functions that do", async () => {
    expect((await tapvisor(["ops"])).output).toMatch(/\nget_msr +register-msr +real +core\+backend +0 /);
    const { output } = await tapvisor(["ops", "get_msr"]);
    expect(output).toMatch(/\ncalled +core\+backend\n/);
    const places = OP_CALLERS.get_msr.map((place) => `${place.package}/${place.file} ${place.function}`);
    expect(places.length).toBeGreaterThan(1);
    const last = output.trimEnd().split("\n").slice(-places.length);
    expect(last.map((text) => text.trim())).toEqual(places);
  });

  it("does not call real what no code calls, and says what will call it", async () => {
    const list = (await tapvisor(["ops"])).output;
    expect(list).toMatch(/\nset_cr3 +register-control +not called +none /);
    expect(list).toMatch(/\npmu_ops.find_arch_event +pmu +ENOSYS +none /);
    const { output } = await tapvisor(["ops", "set_cr3"]);
    expect(output).toMatch(/\nstatus +not called\n/);
    expect(output).toMatch(/\nawaits +shadow paging: .*\ncalled +none\n$/);
  });
});
