import type { Board, Device } from "@tapvisor/kvm-core/contract";

/**
 * The page-flush port of QEMU's pc-testdev: the host drops its mapping of the page whose guest physical address is
 * written, so that the next access, be it of the processor delivering an event, faults in the second-stage table.
 */
export class FlushPage implements Device<null> {
  readonly name = "pc-testdev flush-page";
  readonly size = 4;

  constructor(private readonly board: Pick<Board, "unmapPage">) {}

  read(_offset: number, data: Uint8Array): void {
    data.fill(0);
  }

  write(offset: number, data: Uint8Array): void {
    if (offset !== 0 || data.length !== 4) return;
    this.board.unmapPage(new DataView(data.buffer, data.byteOffset, 4).getUint32(0, true));
  }

  reset(): void {}

  saveState(): null {
    return null;
  }

  restoreState(): void {}
}
