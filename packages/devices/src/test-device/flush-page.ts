import { defineDevice, type Board } from "@tapvisor/kvm-core/contract";

/**
 * The page-flush port of QEMU's pc-testdev: the host drops its mapping of the page whose guest physical address is
 * written, so that the next access, be it of the processor delivering an event, faults in the second-stage table.
 */
export const flushPage = defineDevice<null, Pick<Board, "unmapPage">>({
  name: "pc-testdev flush-page",
  size: 4,
  read: (_state, _offset, data) => void data.fill(0),
  write(_state, offset, data, { unmapPage }) {
    if (offset !== 0 || data.length !== 4) return;
    unmapPage(new DataView(data.buffer, data.byteOffset, 4).getUint32(0, true));
  },
});
