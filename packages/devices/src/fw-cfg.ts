import { defineDevice } from "@tapvisor/kvm-core/contract";

/** Keys of QEMU's firmware configuration device that are served without files (docs/specs/fw_cfg.rst of QEMU). */
export const FW_CFG = {
  SIGNATURE: 0x00, ID: 0x01, RAM_SIZE: 0x03, NB_CPUS: 0x05, KERNEL_DATA: 0x11,
} as const; // prettier-ignore

/** Which item is selected, and how much of it was read. */
export interface FwCfgState {
  key: number;
  offset: number;
}

/** The items that a machine of so many bytes of RAM and so many CPUs has. */
export function machineItems(memoryBytes: number, cpus: number): ReadonlyMap<number, Uint8Array> {
  const u64 = new Uint8Array(8);
  new DataView(u64.buffer).setBigUint64(0, BigInt(memoryBytes), true);
  return new Map([
    [FW_CFG.SIGNATURE, new TextEncoder().encode("QEMU")],
    // Bit 0: the selector and data ports, no DMA.
    [FW_CFG.ID, Uint8Array.of(1, 0, 0, 0)],
    [FW_CFG.RAM_SIZE, u64],
    [FW_CFG.NB_CPUS, Uint8Array.of(cpus & 0xff, cpus >> 8)],
    // kvm-unit-tests asks here for a limit on its heap; 0 is none.
    [FW_CFG.KERNEL_DATA, new Uint8Array(8)],
  ]);
}

/**
 * The port interface of QEMU's fw_cfg: a 16-bit write to the first port selects an item, byte reads of the second
 * give its bytes in order. An unknown item, and what follows the end of one, reads as zeros.
 */
export const fwCfg = defineDevice<FwCfgState, { items: ReadonlyMap<number, Uint8Array> }>({
  name: "fw_cfg",
  size: 2,
  initialState: () => ({ key: 0, offset: 0 }),
  read(state, offset, data, { items }) {
    // The selector is write-only.
    if (offset !== 1) return void data.fill(0);
    const item = items.get(state.key);
    for (let i = 0; i < data.length; i++) data[i] = item?.[state.offset++] ?? 0;
  },
  write(state, offset, data) {
    if (offset !== 0 || data.length !== 2) return;
    // Bit 14 asks for write access, which no item grants.
    state.key = ((data[0] ?? 0) | ((data[1] ?? 0) << 8)) & ~0x4000;
    state.offset = 0;
  },
});
