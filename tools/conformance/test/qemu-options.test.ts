import { CPUID } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { HIDEABLE, planRow } from "../qemu-options.js";
import { parseSuite } from "../suite.js";

const plan = (lines: string, arch = "x86_64") => {
  const [row] = parseSuite(`[row]\nfile = row.flat\n${lines}\n`);
  if (row === undefined) throw new Error("no row");
  return planRow(row, arch);
};
/** The options of a row that is run, as text. */
const options = (lines: string): string => {
  const planned = plan(lines);
  return planned.kind === "run" ? planned.options.join(" ") : `${planned.kind}: ${planned.reason}`;
};

describe("a row for QEMU becomes options of tapvisor run", () => {
  it("processors, memory and arguments", () => {
    expect(options("smp = 4")).toBe("--machine kut --smp 4 --cpu skylake-server");
    expect(options("qemu_params = -m 2g")).toContain("--memory 2048M");
    expect(options("qemu_params = -append 'c d'\ntest_args = a b")).toMatch(/--append a b c d$/);
  });

  it("a model hides what it does not have, and a property shows or hides one feature more", () => {
    expect(options("qemu_params = -cpu max,-pcid")).toMatch(/--cpu skylake-server,-pcid$/);
    expect(options("qemu_params = -cpu max,host-phys-bits,+vmx,-vmx-mbec")).toMatch(/--cpu skylake-server$/);
    const small = options("qemu_params = -cpu qemu64,+pcid,-x2apic");
    expect(small).toMatch(/,-smap,.*,-x2apic$/);
    expect(small).not.toContain("-pcid,");
    expect(options("qemu_params = -cpu IvyBridge,vendor=AuthenticAMD,phys-bits=36,host-phys-bits=off")).toMatch(
      /--cpu skylake-server,vendor=AuthenticAMD,phys-bits=36$/,
    );
  });

  it("every feature that is hidden is one that the command knows", () => {
    const unknown = [...HIDEABLE].filter((name) => !Object.hasOwn(CPUID, name.toUpperCase().replaceAll("-", "_")));
    expect(unknown).toEqual([]);
  });

  it("a row of another architecture, or of another host, is skipped as the suite skips it", () => {
    expect(plan("arch = i386")).toEqual({ kind: "skip", reason: "i386 only" });
    expect(plan("arch = i386", "i386").kind).toBe("run");
    expect(plan("check = /proc/sys/kernel/nmi_watchdog=0").kind).toBe("run");
    expect(plan("check = /proc/sys/kernel/nmi_watchdog=1").kind).toBe("skip");
    expect(plan("check = /no/such/file=Y").kind).toBe("skip");
  });

  it.each(["-m 4g", "-m much", "-device edu", "-M q35,kernel-irqchip=split", "-cpu i486", "-cpu max,speed=9", "-cpu"])(
    "%s is not there",
    (params) => expect(plan(`qemu_params = ${params}`).kind).toBe("unsupported"),
  );
  it.each(["-machine pit=off", "-enable-kvm", "-overcommit cpu-pm=on -m 1g", "-machine vmport=on"])(
    "%s changes nothing",
    (params) => expect(plan(`qemu_params = ${params}`).kind).toBe("run"),
  );
});
