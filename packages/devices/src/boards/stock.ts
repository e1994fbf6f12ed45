import type { BoardModel } from "@tapvisor/kvm-core/contract";
import { debugExit } from "../debug-exit.js";
import { fwCfg, machineItems } from "../fw-cfg.js";
import { uart16550 } from "../uart16550/index.js";
import { PIC_SETUP } from "./firmware.js";

/** Where the stock machine's devices are, as on a PC under QEMU. */
export const PLACES = { DEBUG_EXIT: 0xf4, COM1: 0x3f8, COM1_GSI: 4, FW_CFG: 0x510 } as const;

/** One serial port, the debug-exit port, and fw_cfg about the vCPUs. */
export const STOCK_BOARD: BoardModel = {
  name: "stock",
  summary: "a serial port, the debug-exit port and fw_cfg",
  devices({ environment, irq, onInput, memorySize, cpus }, console) {
    const uart = uart16550({ sink: console, line: irq(PLACES.COM1_GSI), environment });
    onInput({ receive: uart.send, wantsInput: uart.wantsInput });
    return [
      { bus: "port", base: PLACES.COM1, device: uart },
      { bus: "port", base: PLACES.DEBUG_EXIT, device: debugExit({ environment }) },
      { bus: "port", base: PLACES.FW_CFG, device: fwCfg({ items: machineItems(memorySize, cpus) }) },
    ];
  },
  firmware: () => ({ ports: PIC_SETUP, memory: [] }),
};
