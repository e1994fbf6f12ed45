import type { BoardModel } from "@tapvisor/kvm-core/contract";
import { acpiTables, powerManagement } from "../acpi/index.js";
import { mc146818 } from "../mc146818/index.js";
import { deviceMemory, flushPage, irqLines, testLatch } from "../test-device/index.js";
import { INTERRUPT_STUBS, PIC_SETUP, TIMER_SETUP } from "./firmware.js";
import { STOCK_BOARD } from "./stock.js";

/** Where QEMU's pc-testdev has its parts. */
const TEST_DEVICE = { LATCH: 0xe0, FLUSH_PAGE: 0xe4, IRQ_LINES: 0x2000, MEMORY: 0xff00_0000 } as const;

/** Where a PC under QEMU has its clock and the registers of ACPI. */
const PLACES = { RTC: 0x70, RTC_GSI: 8, PM: 0x600, SCI_GSI: 9 } as const;

/** What kvm-unit-tests runs on under QEMU: the stock machine with the devices of `-device pc-testdev`, a clock and ACPI. */
export const KUT_BOARD: BoardModel = {
  name: "kut",
  summary: "what kvm-unit-tests expects: the stock machine, a clock, ACPI and the devices of QEMU's pc-testdev",
  devices(board, console) {
    const { environment, irq, unmapPage } = board;
    const pm = powerManagement({ environment, line: irq(PLACES.SCI_GSI) });
    const rtc = mc146818({ environment, line: irq(PLACES.RTC_GSI), onAlarm: () => pm.alarm() });
    return [
      ...STOCK_BOARD.devices(board, console),
      { bus: "port", base: TEST_DEVICE.LATCH, device: testLatch() },
      { bus: "port", base: TEST_DEVICE.FLUSH_PAGE, device: flushPage({ unmapPage }) },
      { bus: "port", base: TEST_DEVICE.IRQ_LINES, device: irqLines({ irq }) },
      { bus: "port", base: PLACES.RTC, device: rtc },
      { bus: "port", base: PLACES.PM, device: pm },
      { bus: "memory", base: TEST_DEVICE.MEMORY, device: deviceMemory() },
    ];
  },
  firmware({ cpus }) {
    const { tables, wakingVectorAt } = acpiTables({ cpus, pmBase: PLACES.PM, sciGsi: PLACES.SCI_GSI });
    return {
      ports: [...PIC_SETUP, ...TIMER_SETUP],
      // Its real-mode test takes interrupts of the timer by the handlers of a BIOS.
      memory: [...INTERRUPT_STUBS, ...tables],
      wakingVectorAt,
    };
  },
};
