import { describe, expect, it } from "vitest";
import { mem, reg, slot, word } from "../../src/index.js";
import {
  CODE,
  faultOf,
  longMachine,
  protectedMachine,
  realMachine,
  SEL,
  STACK,
  TSS,
  virtual8086Machine,
  type TestEnvironment,
} from "./test-environment.js";

const { al, ax, eax, rax, ebx, rbx, dx, cr0, cr2, cr3, cr4, cr8, dr0, dr4, dr6, dr7 } = reg;
const GP = 13;
const UD = 6;

describe("CLI, STI, PUSHF, POPF", () => {
  it("are refused above IOPL without virtual interrupts", () => {
    const m = protectedMachine(3);
    expect(faultOf(m, () => m.run((a) => a.cli()))).toEqual([GP, 0]);
    expect(faultOf(m, () => m.run((a) => a.sti()))).toEqual([GP, 0]);
    const v86 = virtual8086Machine();
    expect(faultOf(v86, () => v86.run((a) => a.pushf()))).toEqual([GP, 0]);
    expect(faultOf(v86, () => v86.run((a) => a.popf()))).toEqual([GP, 0]);
  });
  it("act on VIF with PVI at CPL 3, and fault if an interrupt is pending", () => {
    const m = protectedMachine(3);
    m.set("cr4", 2n);
    m.run((a) => a.sti());
    expect(m.state.rflags).toBe(0x80002n);
    m.run((a) => a.cli());
    expect(m.state.rflags).toBe(2n);
    m.state.rflags = 0x100002n;
    expect(faultOf(m, () => m.run((a) => a.sti()))).toEqual([GP, 0]);
  });
  it("block interrupts for one instruction when STI sets IF, not when it was set", () => {
    const m = protectedMachine();
    m.run((a) => a.sti());
    expect(m.state.get32(slot("interruptibility"))).toBe(1);
    m.state.set32(slot("interruptibility"), 0);
    m.run((a) => a.sti());
    expect(m.state.get32(slot("interruptibility"))).toBe(0);
  });
  it("do not show VM and RF, and do not take IOPL and IF above IOPL", () => {
    const m = protectedMachine(3);
    m.state.rflags = 0x10ad7n;
    m.run((a) => a.pushfd());
    expect(m.load(STACK - 4n, 4)).toBe(0xad7n);
    m.store(STACK - 4n, 4, 0x253000n);
    m.run((a) => a.popfd());
    expect(m.state.rflags).toBe(0x240202n);
  });
  it("take IOPL and IF at CPL 0", () => {
    const m = longMachine();
    m.store(STACK, 8, 0x3202n);
    m.run((a) => a.popfq());
    expect(m.state.rflags).toBe(0x3202n);
    expect(m.get("rsp")).toBe(STACK + 8n);
  });
  it("use VIF for IF in virtual-8086 mode with VME", () => {
    const m = virtual8086Machine();
    m.set("cr4", 1n);
    m.state.rflags |= 0x80000n;
    m.run((a) => a.pushf());
    expect(m.load(0x17ffen, 2)).toBe(0x3202n);
    m.store(0x17ffen, 2, 0x102n);
    expect(faultOf(m, () => m.run((a) => a.popf()))).toEqual([GP, 0]);
    m.store(0x17ffen, 2, 2n);
    m.run((a) => a.popf());
    expect(m.state.rflags).toBe(0x20002n);
  });
  it("leave STAC and CLAC to CPL 0", () => {
    const m = longMachine(3);
    expect(faultOf(m, () => m.run((a) => a.stac()))).toEqual([UD, undefined]);
    const kernel = longMachine();
    kernel.run((a) => a.stac());
    expect(kernel.state.rflags).toBe(0x40002n);
  });
});

describe("SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS", () => {
  const armed = (level: number): TestEnvironment => {
    const m = longMachine(level);
    m.set("star", (0x0013_0008n << 32n) | 0n);
    m.set("lstar", 0xffff_8000_0000_1000n);
    m.set("sfmask", 0x4700n);
    return m;
  };
  it("are #UD outside 64-bit mode or without EFER.SCE", () => {
    const m = armed(3);
    m.set("efer", 0xd00n);
    expect(faultOf(m, () => m.run((a) => a.syscall()))).toEqual([UD, undefined]);
    const legacy = protectedMachine(3);
    legacy.set("efer", 1n);
    expect(faultOf(legacy, () => legacy.run((a) => a.syscall()))).toEqual([UD, undefined]);
  });
  it("enter with RCX and R11, masked flags and flat segments", () => {
    const m = armed(3);
    m.state.rflags = 0x302n;
    expect(m.run((a) => a.syscall())).toBe(0xffff_8000_0000_1000n);
    expect(m.get("rcx")).toBe(CODE + 2n);
    expect(m.get("r11")).toBe(0x302n);
    expect(m.state.rflags).toBe(2n);
    expect(m.state.segment("cs")).toEqual({ selector: 8, base: 0n, limit: 0xffffffff, rights: 0xa09b });
    expect(m.state.segment("ss")).toEqual({ selector: 16, base: 0n, limit: 0xffffffff, rights: 0xc093 });
  });
  it("return to 64-bit or compatibility code at CPL 3", () => {
    const m = armed(0);
    m.state.setGpr(1, 0x8000_0000_0000n);
    expect(faultOf(m, () => m.run((a) => a.sysretq()))).toEqual([GP, 0]);
    m.state.setGpr(1, 0x1_0000_5000n);
    m.state.setGpr(11, 0x3_7fd7n);
    expect(m.run((a) => a.sysretq())).toBe(0x1_0000_5000n);
    expect(m.state.segment("cs")).toMatchObject({ selector: 0x23, rights: 0xa0fb });
    expect(m.state.segment("ss")).toMatchObject({ selector: 0x1b, rights: 0xc0f3 });
    expect(m.state.rflags).toBe(0x7fd7n);
    const compatible = armed(0);
    compatible.state.setGpr(1, 0x1_0000_5000n);
    expect(compatible.run((a) => a.sysret())).toBe(0x5000n);
    expect(compatible.state.segment("cs")).toMatchObject({ selector: 0x13, rights: 0xc0fb });
    const user = armed(3);
    expect(faultOf(user, () => user.run((a) => a.sysretq()))).toEqual([GP, 0]);
  });
  it("trap by the TF that they leave", () => {
    const m = armed(3);
    m.state.rflags = 0x102n;
    m.run((a) => a.syscall());
    expect(m.get("pendingDebug")).toBe(0n);
    m.state.setGpr(11, 0x102n);
    m.run((a) => a.sysretq());
    expect(m.get("pendingDebug")).toBe(0x4000n);
  });
  it("exist outside 64-bit mode where the machine has AMD's form", () => {
    const m = armed(3);
    Object.assign(m, { legacySyscall: true });
    m.state.setSegment("cs", { ...m.state.segment("cs"), selector: SEL.CODE3, rights: 0xc0fb });
    m.set("cstar", 0x6000n);
    m.state.rflags = 0x302n;
    expect(m.run((a) => a.syscall())).toBe(0x6000n);
    expect([m.get("rcx"), m.get("r11"), m.state.rflags]).toEqual([CODE + 2n, 0x302n, 2n]);
    expect(m.state.segment("cs")).toMatchObject({ selector: 8, rights: 0xa09b });
    const legacy = protectedMachine(3);
    Object.assign(legacy, { legacySyscall: true });
    legacy.set("efer", 1n);
    legacy.set("star", 0x0013_0008_0000_7000n);
    legacy.state.rflags = 0x302n;
    expect(legacy.run((a) => a.syscall())).toBe(0x7000n);
    expect([legacy.get("rcx"), legacy.get("r11"), legacy.state.rflags]).toEqual([CODE + 2n, 0n, 0x102n]);
    expect(legacy.run((a) => a.sysret())).toBe(CODE + 2n);
    expect(legacy.state.segment("cs")).toMatchObject({ selector: 0x13, rights: 0xc0fb });
    expect(legacy.state.rflags).toBe(0x302n);
  });
  it("refuse SYSENTER without a selector and in real mode", () => {
    const m = protectedMachine(3);
    expect(faultOf(m, () => m.run((a) => a.sysenter()))).toEqual([GP, 0]);
    const real = realMachine();
    real.set("sysenter_cs", 8n);
    expect(faultOf(real, () => real.run((a) => a.sysenter()))).toEqual([GP, 0]);
  });
  it("take SYSENTER's stack and entry, and come back with ECX and EDX", () => {
    const m = protectedMachine(3);
    m.set("sysenter_cs", 8n);
    m.set("sysenter_esp", 0x9000n);
    m.set("sysenter_eip", 0x5000n);
    m.state.rflags = 0x202n;
    expect(m.run((a) => a.sysenter())).toBe(0x5000n);
    expect([m.get("rsp"), m.state.rflags]).toEqual([0x9000n, 2n]);
    expect(m.state.segment("cs")).toMatchObject({ selector: 8, rights: 0xc09b });
    m.state.setGpr(1, 0x7000n);
    m.state.setGpr(2, 0x6000n);
    expect(m.run((a) => a.sysexit())).toBe(0x6000n);
    expect(m.get("rsp")).toBe(0x7000n);
    expect(m.state.segment("cs")).toMatchObject({ selector: 0x1b, rights: 0xc0fb });
    expect(m.state.segment("ss").selector).toBe(0x23);
  });
  it("exchange the bases of GS at CPL 0", () => {
    const m = longMachine();
    m.set("kernel_gs_base", 0xffff_8000_0000_0000n);
    m.run((a) => a.swapgs());
    expect(m.get("gs.base")).toBe(0xffff_8000_0000_0000n);
    expect(m.get("kernel_gs_base")).toBe(0n);
    const user = longMachine(3);
    expect(faultOf(user, () => user.run((a) => a.swapgs()))).toEqual([GP, 0]);
  });
  it("give FS and GS bases with CR4.FSGSBASE only, and refuse what is not canonical", () => {
    const m = longMachine(3);
    expect(faultOf(m, () => m.run((a) => a.rdfsbase(rax)))).toEqual([UD, undefined]);
    m.set("cr4", 0x10020n);
    m.state.setGpr(0, 0x8000_0000_0000n);
    expect(faultOf(m, () => m.run((a) => a.wrgsbase(rax)))).toEqual([GP, 0]);
    m.state.setGpr(0, 0x1_0000_1234n);
    m.run((a) => a.wrfsbase(rax));
    m.run((a) => a.rdfsbase(ebx));
    expect(m.get("rbx")).toBe(0x1234n);
  });
});

describe("control registers", () => {
  const write = (m: TestEnvironment, cr: typeof cr0, value: bigint): void => {
    m.state.setGpr(0, value);
    m.run((a) => a.mov(cr, (m.get("efer") & 0x400n) !== 0n ? rax : eax));
  };
  const refused = (m: TestEnvironment, cr: typeof cr0, value: bigint): [number, number | undefined] => {
    m.state.setGpr(0, value);
    return faultOf(m, () => write(m, cr, value));
  };
  it("are #GP above CPL 0", () => {
    const user = protectedMachine(3);
    expect(faultOf(user, () => user.run((a) => a.mov(eax, cr0)))).toEqual([GP, 0]);
  });
  it("refuse CR0 with PG without PE, NW without CD, and upper bits", () => {
    const m = protectedMachine();
    expect(refused(m, cr0, 0x80000010n)).toEqual([GP, 0]);
    expect(refused(m, cr0, 0xa0000011n)).toEqual([GP, 0]);
    const long = longMachine();
    expect(refused(long, cr0, 0x1_8000_0011n)).toEqual([GP, 0]);
  });
  it("activate IA-32e mode with PAE from 32-bit code only, and leave it from compatibility mode", () => {
    const m = protectedMachine();
    m.set("cr0", 0x11n);
    m.set("efer", 0x100n);
    expect(refused(m, cr0, 0x80000011n)).toEqual([GP, 0]);
    m.set("cr4", 0x20n);
    write(m, cr0, 0x80000011n);
    expect(m.get("efer")).toBe(0x500n);
    const long = longMachine();
    expect(refused(long, cr0, 0x11n)).toEqual([GP, 0]);
  });
  it("load the PDPTEs of PAE paging, and refuse reserved bits in them", () => {
    const m = protectedMachine();
    m.set("cr4", 0x20n);
    m.store(0x6000n, 8, 0x7001n);
    m.store(0x6008n, 8, 0x8003n);
    expect(refused(m, cr3, 0x6000n)).toEqual([GP, 0]);
    m.store(0x6008n, 8, 0x8002n);
    write(m, cr3, 0x6000n);
    expect([m.get("pdpte0"), m.get("pdpte1")]).toEqual([0x7001n, 0x8002n]);
  });
  it("refuse bits of CR3 beyond the physical address, and keep bit 63 out of it with PCIDE", () => {
    const m = longMachine();
    expect(refused(m, cr3, 1n << 40n)).toEqual([GP, 0]);
    expect(refused(m, cr3, 1n << 63n)).toEqual([GP, 0]);
    m.set("cr4", 0x20020n);
    write(m, cr3, (1n << 63n) | 0x6005n);
    expect(m.get("cr3")).toBe(0x6005n);
  });
  it("refuse reserved bits of CR4, PAE off in IA-32e mode, PCIDE outside it or with a PCID", () => {
    const m = longMachine();
    expect(refused(m, cr4, 0x1020n)).toEqual([GP, 0]);
    expect(refused(m, cr4, 0n)).toEqual([GP, 0]);
    m.set("cr3", 5n);
    expect(refused(m, cr4, 0x20020n)).toEqual([GP, 0]);
    m.set("cr3", 0x1000n);
    write(m, cr4, 0x20020n);
    expect(m.get("cr4")).toBe(0x20020n);
    const legacy = protectedMachine();
    expect(refused(legacy, cr4, 0x20000n)).toEqual([GP, 0]);
  });
  it("refuse more than four bits in CR8, and take any CR2", () => {
    const m = longMachine();
    expect(refused(m, cr8, 16n)).toEqual([GP, 0]);
    write(m, cr2, 0x1234_5678_9abc_def0n);
    expect(m.get("cr2")).toBe(0x1234_5678_9abc_def0n);
  });
  it("do not let EFER.LME change under paging, nor LMA be written", () => {
    const m = longMachine();
    m.state.setGpr(1, 0xc0000080n);
    m.state.setGpr(0, 0xc01n);
    expect(faultOf(m, () => m.run((a) => a.wrmsr()))).toEqual([GP, 0]);
    m.state.setGpr(0, 0x900n);
    m.run((a) => a.wrmsr());
    expect(m.get("efer")).toBe(0xd00n);
  });
});

describe("debug registers", () => {
  it("refuse CPL 3, DR4 with CR4.DE, and upper bits of DR6 and DR7", () => {
    const user = protectedMachine(3);
    expect(faultOf(user, () => user.run((a) => a.mov(eax, dr0)))).toEqual([GP, 0]);
    const m = longMachine();
    m.set("cr4", 0x28n);
    expect(faultOf(m, () => m.run((a) => a.mov(rax, dr4)))).toEqual([UD, undefined]);
    m.state.setGpr(0, 1n << 32n);
    expect(faultOf(m, () => m.run((a) => a.mov(dr7, rax)))).toEqual([GP, 0]);
  });
  it("alias DR4 to DR6, and keep the fixed bits", () => {
    const m = longMachine();
    m.state.setGpr(0, 0n);
    m.run((a) => a.mov(dr6, rax));
    m.run((a) => a.mov(rbx, dr4));
    expect(m.get("rbx")).toBe(0xffff0ff0n);
    m.run((a) => a.mov(dr7, rax));
    expect(m.get("dr7")).toBe(0x400n);
  });
  it("raise #DB with general detect", () => {
    const m = longMachine();
    m.set("dr7", 0x2400n);
    expect(() => m.run((a) => a.mov(rax, dr0))).toThrow(/exception 1$/);
    expect([m.get("dr6"), m.get("dr7")]).toEqual([0xffff2ff0n, 0x400n]);
  });
});

describe("ports", () => {
  it("ask the bitmap above IOPL: too small a TSS, a bit set, the byte after the map missing", () => {
    const m = protectedMachine(3);
    m.state.setGpr(2, 0x3f8n);
    m.store(TSS + 0x66n, 2, 0x68n);
    m.run((a) => a.out(dx, al));
    m.store(TSS + 0x68n + 0x7fn, 1, 1n);
    expect(faultOf(m, () => m.run((a) => a.out(dx, al)))).toEqual([GP, 0]);
    // A doubleword covers four bits.
    m.state.setGpr(2, 0x3f5n);
    expect(faultOf(m, () => m.run((a) => a.in(eax, dx)))).toEqual([GP, 0]);
    m.state.setGpr(2, 0x3f4n);
    m.run((a) => a.in(eax, dx));
    m.state.setSegment("tr", { ...m.state.segment("tr"), limit: 0x68 + 0x7e });
    expect(faultOf(m, () => m.run((a) => a.in(eax, dx)))).toEqual([GP, 0]);
    m.state.setSegment("tr", { ...m.state.segment("tr"), rights: 0x83 });
    expect(faultOf(m, () => m.run((a) => a.in(eax, dx)))).toEqual([GP, 0]);
  });
  it("ask it in virtual-8086 mode whatever IOPL is", () => {
    const m = virtual8086Machine(3);
    m.store(TSS + 0x66n, 2, 0x68n);
    m.store(TSS + 0x68n, 1, 0xffn);
    expect(faultOf(m, () => m.run((a) => a.in(al, 0x5)))).toEqual([GP, 0]);
    m.run((a) => a.in(al, 0x8));
  });
  it("take as much of the value as the accumulator holds", () => {
    const m = longMachine();
    m.portValue = -1;
    m.run((a) => a.in(ax, 0x10));
    expect(m.get("rax")).toBe(0xffffn);
    m.state.setGpr(0, 0xffff_ffff_0000_0000n);
    m.portValue = 0x12345678;
    m.run((a) => a.in(eax, 0x10));
    expect(m.get("rax")).toBe(0x12345678n);
    m.run((a) => a.out(0x80, al));
    expect(m.log.at(-1)).toBe("out 80 1 78");
  });
  it("do one iteration of a repetition at a time, and stay on the instruction until it is done", () => {
    const m = longMachine();
    m.state.setGpr(1, 2n);
    m.state.setGpr(2, 0x1f0n);
    m.state.setGpr(7, 0x6000n);
    m.portValue = 0xbeef;
    expect(m.run((a) => a.rep().insw())).toBe(CODE);
    expect(m.run((a) => a.rep().insw())).toBe(CODE + 3n);
    expect([m.get("rcx"), m.get("rdi"), m.load(0x6000n, 4)]).toEqual([0n, 0x6004n, 0xbeefbeefn]);
    expect(m.run((a) => a.rep().insw())).toBe(CODE + 3n);
    expect(m.log.filter((line) => line.startsWith("in "))).toHaveLength(2);
  });
  it("go down with DF, and do not read the port when the destination faults", () => {
    const m = longMachine();
    m.state.rflags = 0x402n;
    m.store(0x6000n, 1, 0x41n);
    m.state.setGpr(6, 0x6000n);
    m.state.setGpr(2, 0xe9n);
    m.run((a) => a.outsb());
    expect([m.get("rsi"), m.log]).toEqual([0x5fffn, ["string out e9 1 6000", "out e9 1 41"]]);
    m.missing.add(6n);
    m.state.setGpr(7, 0x6000n);
    expect(faultOf(m, () => m.run((a) => a.insb()))).toEqual([14, 2]);
    expect(m.log).not.toContain("in e9 1");
  });
});

describe("privileged and other instructions", () => {
  it("are refused at CPL 3", () => {
    const m = longMachine(3);
    const refused = [
      (a) => a.hlt(),
      (a) => a.rdmsr(),
      (a) => a.wrmsr(),
      (a) => a.invlpg(mem(rax)),
      (a) => a.invpcid(rax, mem(rbx)),
      (a) => a.wbinvd(),
      (a) => a.invd(),
      (a) => a.clts(),
      (a) => a.lmsw(ax),
      (a) => a.rdpmc(),
    ] as Parameters<TestEnvironment["run"]>[0][];
    for (const write of refused) expect(faultOf(m, () => m.run(write))).toEqual([GP, 0]);
    expect(faultOf(m, () => m.run((a) => a.monitor()))).toEqual([UD, undefined]);
    expect(faultOf(m, () => m.run((a) => a.ud2()))).toEqual([UD, undefined]);
  });
  it("follow CR4.TSD and CR4.PCE", () => {
    const m = longMachine(3);
    m.run((a) => a.rdtsc());
    expect([m.get("rax"), m.get("rdx")]).toEqual([2n, 1n]);
    m.set("tsc_aux", 5n);
    m.run((a) => a.rdtscp());
    expect(m.get("rcx")).toBe(5n);
    m.set("cr4", 0x124n);
    expect(faultOf(m, () => m.run((a) => a.rdtsc()))).toEqual([GP, 0]);
    m.run((a) => a.rdpmc());
  });
  it("give CPUID in 32 bits", () => {
    const m = longMachine();
    m.state.setGpr(0, 0xffff_ffff_0000_0007n);
    m.state.setGpr(1, 1n);
    m.run((a) => a.cpuid());
    expect((["rax", "rbx", "rcx", "rdx"] as const).map((name) => m.get(name))).toEqual([7n, 1n, 0xffffffffn, 7n]);
  });
  it("need CR4.OSXSAVE for XGETBV and CR4.PKE for RDPKRU", () => {
    const m = longMachine();
    expect(faultOf(m, () => m.run((a) => a.xgetbv()))).toEqual([UD, undefined]);
    expect(faultOf(m, () => m.run((a) => a.rdpkru()))).toEqual([UD, undefined]);
    m.set("cr4", 0x440020n);
    m.state.setGpr(1, 1n);
    expect(faultOf(m, () => m.run((a) => a.rdpkru()))).toEqual([GP, 0]);
    m.state.setGpr(1, 0n);
    m.state.setGpr(0, 0x55n);
    m.run((a) => a.wrpkru());
    expect(m.state.get32(slot("pkru"))).toBe(0x55);
  });
  it("refuse types, PCIDs and reserved bits of INVPCID", () => {
    const m = longMachine();
    m.state.setGpr(3, 0x6000n);
    const prepare = (type: bigint, low: bigint, linear: bigint): void => {
      m.state.setGpr(0, type);
      m.store(0x6000n, 8, low);
      m.store(0x6008n, 8, linear);
    };
    const invpcid = (): unknown => m.run((a) => a.invpcid(rax, mem(rbx)));
    prepare(4n, 0n, 0n);
    expect(faultOf(m, invpcid)).toEqual([GP, 0]);
    prepare(1n, 1n, 0n);
    expect(faultOf(m, invpcid)).toEqual([GP, 0]);
    prepare(2n, 0x1000n, 0n);
    expect(faultOf(m, invpcid)).toEqual([GP, 0]);
    prepare(0n, 0n, 0x8000_0000_0000n);
    expect(faultOf(m, invpcid)).toEqual([GP, 0]);
    prepare(0n, 0n, 0x7000n);
    invpcid();
    expect(m.log).toEqual(["invpcid 0 0 7000"]);
  });
  it("give random numbers with CF and no other flag", () => {
    const m = longMachine();
    m.state.rflags = 0x8d6n;
    m.run((a) => a.rdrand(ax));
    expect([m.get("rax"), m.state.rflags]).toEqual([0x7788n, 3n]);
  });
  it("hand VMX and SVM instructions to the machine", () => {
    const m = longMachine(3);
    m.run((a) => a.vmcall());
    m.run((a) => a.vmlaunch());
    expect(m.log).toEqual(["virtualization 3", "virtualization 3"]);
  });
  it("address INVLPG by the base of FS, and LMSW by its memory", () => {
    const m = longMachine();
    m.state.setSegment("fs", { ...m.state.segment("fs"), base: 0x100000n });
    m.run((a) => a.invlpg(mem({ segment: reg.fs, base: rax })));
    m.run((a) => a.lmsw(word(rbx)));
    expect(m.log).toEqual(["invlpg 100000", "lmsw 0 0"]);
  });
});
