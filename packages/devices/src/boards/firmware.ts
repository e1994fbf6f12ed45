import type { FirmwareState } from "@tapvisor/kvm-core/contract";

/** The interrupt controllers as a BIOS leaves them: vectors 8 and 0x70 on, everything masked but the cascade. */
export const PIC_SETUP: FirmwareState["ports"] = [
  // ICW1: edges, cascaded, ICW4 follows. ICW2: the vectors. ICW3: the cascade is on input 2. ICW4: 8086 mode.
  [0x20, 0x11],
  [0xa0, 0x11],
  [0x21, 0x08],
  [0xa1, 0x70],
  [0x21, 0x04],
  [0xa1, 0x02],
  [0x21, 0x01],
  [0xa1, 0x01],
  // OCW1: the masks.
  [0x21, 0xfb],
  [0xa1, 0xff],
];

/** The timer as a BIOS leaves it, 18.2 interrupts a second, and the lines that its handlers serve. */
export const TIMER_SETUP: FirmwareState["ports"] = [
  // Counter 0, both bytes, mode 2; a count of 0 is 65536.
  [0x43, 0x34],
  [0x40, 0x00],
  [0x40, 0x00],
  // All lines but the keyboard's and the serial ports'.
  [0x21, 0xe2],
  [0xa1, 0x00],
];

/** Where the handlers are: the segment of a PC's BIOS. */
const STUB_SEGMENT = 0xf000;
const STUB_OFFSET = 0xff00;

/** push ax; mov al, 0x20 (the end-of-interrupt command); out 0x20, al; pop ax; iret */
const MASTER_STUB = [0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf];
/** The same, to the slave before. */
const SLAVE_STUB = [0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf];
const IRET_STUB = [0xcf];

/** An interrupt table of real mode, in which each line's handler ends its interrupt and every other one returns. */
export const INTERRUPT_STUBS: FirmwareState["memory"] = [
  { address: 0, data: interruptTable() },
  { address: STUB_SEGMENT * 16 + STUB_OFFSET, data: Uint8Array.of(...MASTER_STUB, ...SLAVE_STUB, ...IRET_STUB) },
];

function interruptTable(): Uint8Array {
  const table = new DataView(new ArrayBuffer(256 * 4));
  for (let vector = 0; vector < 256; vector++) {
    let stub = MASTER_STUB.length + SLAVE_STUB.length;
    if (vector >= 0x08 && vector < 0x10) stub = 0;
    else if (vector >= 0x70 && vector < 0x78) stub = MASTER_STUB.length;
    table.setUint16(vector * 4, STUB_OFFSET + stub, true);
    table.setUint16(vector * 4 + 2, STUB_SEGMENT, true);
  }
  return new Uint8Array(table.buffer);
}
