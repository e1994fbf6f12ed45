import type { MachineModel } from "@tapvisor/kvm-core/contract";
import { DeviceMemory, FlushPage, IrqLines, TestLatch } from "../test-device/index.js";
import { INTERRUPT_STUBS, PIC_SETUP, TIMER_SETUP } from "./firmware.js";
import { STOCK_MACHINE } from "./stock.js";

/** Where QEMU's pc-testdev has its parts. */
const TEST_DEVICE = { LATCH: 0xe0, FLUSH_PAGE: 0xe4, IRQ_LINES: 0x2000, MEMORY: 0xff00_0000 } as const;

/** What kvm-unit-tests runs on under QEMU: the stock machine with the devices of `-device pc-testdev`. */
export const KUT_MACHINE: MachineModel = {
  name: "kut",
  summary: "what kvm-unit-tests expects: the stock machine and the devices of QEMU's pc-testdev",
  devices(board, console) {
    return [
      ...STOCK_MACHINE.devices(board, console),
      { bus: "port", base: TEST_DEVICE.LATCH, device: new TestLatch() },
      { bus: "port", base: TEST_DEVICE.FLUSH_PAGE, device: new FlushPage(board) },
      { bus: "port", base: TEST_DEVICE.IRQ_LINES, device: new IrqLines(board) },
      { bus: "memory", base: TEST_DEVICE.MEMORY, device: new DeviceMemory() },
    ];
  },
  // Its real-mode test takes interrupts of the timer by the handlers of a BIOS.
  firmware: { ports: [...PIC_SETUP, ...TIMER_SETUP], memory: INTERRUPT_STUBS },
};
