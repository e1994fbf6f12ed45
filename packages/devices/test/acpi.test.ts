import { describe, expect, it } from "vitest";
import { acpiTables, powerManagement } from "../src/index.js";
import { environment, line } from "./support.js";

describe("power management", () => {
  function setUp() {
    const around = environment();
    const sci = line();
    const pm = powerManagement({ environment: around.environment, line: sci });
    const read = (offset: number, bytes: number) => {
      const data = new Uint8Array(bytes);
      pm.read(offset, data);
      return data.reduceRight((value, byte) => value * 256 + byte, 0);
    };
    const write16 = (offset: number, value: number) => pm.write(offset, Uint8Array.of(value & 0xff, value >> 8));
    return { ...around, sci, pm, read, write16 };
  }

  it("has a timer of 3.579545 MHz that is 24 bits wide", () => {
    const { read, advance } = setUp();
    advance(1_000_000_000);
    expect(read(8, 4)).toBe(3_579_545);
    advance(4_000_000_000);
    expect(read(8, 4)).toBe((5 * 3_579_545) % 2 ** 24);
  });

  it("raises its interrupt for an alarm that is enabled, until the status is cleared by writing 1", () => {
    const { pm, sci, read, write16, wakes } = setUp();
    pm.alarm();
    expect([sci.level, read(0, 2), wakes()]).toEqual([false, 0x400, 0]);
    write16(2, 0x400);
    expect(sci.level).toBe(true);
    write16(0, 0x100);
    expect(sci.level).toBe(true);
    write16(0, 0x400);
    expect([sci.level, read(0, 4)]).toEqual([false, 0x400_0000]);
    pm.alarm();
    expect([read(0, 2), wakes()]).toEqual([0x8400, 1]);
  });

  it("sleeps or turns off by what is written to SLP_TYP with SLP_EN, and by nothing else", () => {
    const { stops, write16, read } = setUp();
    write16(4, 0x0400);
    expect(stops).toEqual([]);
    write16(4, 0x2400);
    write16(4, 0x2000);
    write16(4, 0x3c00);
    expect(stops).toEqual([{ kind: "suspend" }, { kind: "shutdown" }]);
    expect(read(4, 2)).toBe(0x1c00);
  });
});

describe("the tables of ACPI", () => {
  const { tables, wakingVectorAt } = acpiTables({ cpus: 3, pmBase: 0x600, sciGsi: 9 });
  const at = (address: number) => {
    const found = tables.find((table) => table.address === address);
    if (found === undefined) throw new Error(`no table at ${address.toString(16)}`);
    return found.data;
  };
  const u32 = (data: Uint8Array, offset: number) => new DataView(data.buffer, data.byteOffset).getUint32(offset, true);
  const signature = (data: Uint8Array) => String.fromCharCode(...data.subarray(0, 4));
  const rsdp = tables.map(({ data }) => data).find((data) => signature(data) === "RSD ");
  const rsdt = at(u32(rsdp ?? new Uint8Array(20), 16));
  const listed = [36, 40].map((offset) => at(u32(rsdt, offset)));
  const [fadt = new Uint8Array(), madt = new Uint8Array()] = listed;

  it("are found from the root pointer, and each sums up to 0", () => {
    expect(listed.map(signature)).toEqual(["FACP", "APIC"]);
    expect([signature(rsdt), signature(at(u32(fadt, 40)))]).toEqual(["RSDT", "DSDT"]);
    for (const data of [rsdp ?? new Uint8Array(1), rsdt, fadt, madt, at(u32(fadt, 40))]) {
      expect(data.reduce((sum, byte) => sum + byte, 0) & 0xff).toBe(0);
      if (data !== rsdp) expect(u32(data, 4)).toBe(data.length);
    }
    for (const { address, data } of tables) {
      expect(address % 16).toBe(0);
      expect(address >= 0xf0000 && address + data.length <= 0x100000).toBe(true);
    }
  });

  it("say where the registers are, and where the waking vector", () => {
    expect([u32(fadt, 56), u32(fadt, 64), u32(fadt, 76), fadt[46]]).toEqual([0x600, 0x604, 0x608, 9]);
    const facs = u32(fadt, 36);
    expect([signature(at(facs)), facs % 64, wakingVectorAt - facs]).toEqual(["FACS", 0, 12]);
  });

  it("list the processors and the I/O APIC", () => {
    const entries: number[][] = [];
    for (let offset = 44; offset < madt.length; offset += madt[offset + 1] ?? 1) {
      entries.push([...madt.subarray(offset, offset + 4)]);
    }
    expect(entries).toEqual([
      [0, 8, 0, 0],
      [0, 8, 1, 1],
      [0, 8, 2, 2],
      [1, 12, 3, 0],
    ]);
  });
});
