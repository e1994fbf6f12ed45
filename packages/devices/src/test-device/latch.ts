import type { Device } from "@tapvisor/kvm-core/contract";

/** What the latch holds. */
export interface TestLatchState {
  bytes: number[];
}

/** Four ports that give back what was written to them, by the byte: the I/O port of QEMU's pc-testdev. */
export class TestLatch implements Device<TestLatchState> {
  readonly name = "pc-testdev latch";
  readonly size = 4;
  readonly #bytes = new Uint8Array(4);

  read(offset: number, data: Uint8Array): void {
    data.set(this.#bytes.subarray(offset, offset + data.length));
  }

  write(offset: number, data: Uint8Array): void {
    this.#bytes.set(data, offset);
  }

  reset(): void {
    this.#bytes.fill(0);
  }

  saveState(): TestLatchState {
    return { bytes: [...this.#bytes] };
  }

  restoreState({ bytes }: TestLatchState): void {
    this.#bytes.set(bytes);
  }
}
