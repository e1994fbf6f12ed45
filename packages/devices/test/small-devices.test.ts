import { describe, expect, it } from "vitest";
import { debugExit, debugExitStatus } from "../src/debug-exit.js";
import { FW_CFG, fwCfg, machineItems } from "../src/fw-cfg.js";

describe("isa-debug-exit", () => {
  it("stops the machine with the value of the guest's write, of any width", () => {
    const stops: unknown[] = [];
    const device = debugExit({ environment: { requestStop: (stop) => void stops.push(stop) } });
    device.write(0, Uint8Array.of(0xfe));
    device.write(0, Uint8Array.of(0x01, 0x02));
    device.write(0, Uint8Array.of(0xff, 0xff, 0xff, 0xff));
    expect(stops).toEqual([
      { kind: "debug-exit", value: 0xfe },
      { kind: "debug-exit", value: 0x201 },
      { kind: "debug-exit", value: 0xffffffff },
    ]);
  });

  it("does not stop on a read", () => {
    const device = debugExit({
      environment: {
        requestStop: () => {
          throw new Error("stopped");
        },
      },
    });
    const data = Uint8Array.of(1, 2, 3, 4);
    device.read(0, data);
    expect([...data]).toEqual([0, 0, 0, 0]);
  });

  it("maps values to exit statuses as QEMU does", () => {
    expect([0, 1, 38, 63, 127, 128, 0xffffffff].map(debugExitStatus)).toEqual([1, 3, 77, 127, 255, 1, 255]);
  });
});

describe("fw_cfg", () => {
  const select = (device: ReturnType<typeof fwCfg>, key: number) =>
    device.write(0, Uint8Array.of(key & 0xff, key >> 8));
  const bytes = (device: ReturnType<typeof fwCfg>, count: number) =>
    Array.from({ length: count }, () => {
      const data = new Uint8Array(1);
      device.read(1, data);
      return data[0];
    });

  it("gives zeros for an unknown item, after the end of one, and from the selector", () => {
    const device = fwCfg({ items: machineItems(128 << 20, 2) });
    select(device, 0x7777);
    expect(bytes(device, 3)).toEqual([0, 0, 0]);
    select(device, FW_CFG.NB_CPUS);
    expect(bytes(device, 4)).toEqual([2, 0, 0, 0]);
    const data = Uint8Array.of(9);
    device.read(0, data);
    expect(data[0]).toBe(0);
  });

  it("ignores a selector write of one byte and a data write", () => {
    const device = fwCfg({ items: machineItems(128 << 20, 2) });
    select(device, FW_CFG.SIGNATURE);
    device.write(0, Uint8Array.of(5));
    device.write(1, Uint8Array.of(5));
    expect(String.fromCharCode(...bytes(device, 4).map(Number))).toBe("QEMU");
  });

  it("has the size of RAM in bytes, little-endian", () => {
    const device = fwCfg({ items: machineItems(0x1_2345_6000, 1) });
    select(device, FW_CFG.RAM_SIZE);
    expect(bytes(device, 8)).toEqual([0x00, 0x60, 0x45, 0x23, 0x01, 0, 0, 0]);
  });

  it("starts an item over when it is selected again, and goes on from saved state", () => {
    const device = fwCfg({ items: machineItems(0x5000, 1) });
    select(device, FW_CFG.SIGNATURE);
    bytes(device, 2);
    const saved = device.saveState();
    const other = fwCfg({ items: machineItems(0x5000, 1) });
    other.restoreState(saved);
    expect(bytes(other, 2)).toEqual(["M".charCodeAt(0), "U".charCodeAt(0)]);
    select(device, FW_CFG.SIGNATURE);
    expect(bytes(device, 1)).toEqual(["Q".charCodeAt(0)]);
  });
});
