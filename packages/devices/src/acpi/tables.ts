import { APIC_DEFAULT_PHYS_BASE, IOAPIC_DEFAULT_BASE } from "@tapvisor/kvm-core/contract";
import { PM_OFFSET, SLEEP_TYPE } from "./power-management.js";

/** Bytes of guest memory, by guest physical address. */
export interface PlacedTable {
  readonly address: number;
  readonly data: Uint8Array;
}

export interface AcpiPlatform {
  readonly cpus: number;
  /** First port of the power management registers. */
  readonly pmBase: number;
  /** Line of the system control interrupt. */
  readonly sciGsi: number;
}

/** Where the tables go: in the segment that is searched for the root pointer, each on a multiple of 64. */
const TABLES_BASE = 0xf_0000;
const HEADER_BYTES = 36;
/** FADT of ACPI 1.0: fields by offset (ACPI specification, "Fixed ACPI Description Table (FADT)"). */
const FADT = {
  SIZE: 116, FIRMWARE_CTRL: 36, DSDT: 40, SCI_INT: 46, PM1A_EVT_BLK: 56, PM1A_CNT_BLK: 64, PM_TMR_BLK: 76,
  PM1_EVT_LEN: 88, PM1_CNT_LEN: 89, PM_TMR_LEN: 91, P_LVL2_LAT: 96, P_LVL3_LAT: 98, FLAGS: 112,
} as const; // prettier-ignore
/** WBINVD works; C1 is there; buttons are no fixed hardware; the clock's alarm is fixed hardware. */
const FADT_FLAGS = 1 | 4 | 0x10 | 0x20;
const FACS_BYTES = 64;
const FACS_WAKING_VECTOR = 12;

/** The tables of a machine, and the address at which an operating system leaves where it wants to be woken. */
export interface AcpiTables {
  readonly tables: readonly PlacedTable[];
  readonly wakingVectorAt: number;
}

/** ACPI tables as firmware leaves them (ACPI specification, "ACPI System Description Tables"). */
export function acpiTables({ cpus, pmBase, sciGsi }: AcpiPlatform): AcpiTables {
  const tables: PlacedTable[] = [];
  let next = TABLES_BASE + 0x40;
  const place = (data: Uint8Array): number => {
    const address = next;
    tables.push({ address, data });
    next = Math.ceil((address + data.length) / 64) * 64;
    return address;
  };
  const facs = place(firmwareControlStructure());
  const dsdt = place(describe("DSDT", 1, sleepStates()));
  const fadt = place(describe("FACP", 1, fixedDescription(facs, dsdt, pmBase, sciGsi)));
  const madt = place(describe("APIC", 1, interruptControllers(cpus)));
  const entries = new DataView(new ArrayBuffer(8));
  entries.setUint32(0, fadt, true);
  entries.setUint32(4, madt, true);
  const rsdt = place(describe("RSDT", 1, new Uint8Array(entries.buffer)));
  tables.push({ address: TABLES_BASE, data: rootPointer(rsdt) });
  return { tables, wakingVectorAt: facs + FACS_WAKING_VECTOR };
}

const ascii = (text: string) => new TextEncoder().encode(text);

/** All bytes of a table add up to 0. */
function setChecksum(bytes: Uint8Array, at: number): void {
  bytes[at] = 0;
  bytes[at] = -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

/** A table: its header, and the body behind that. */
function describe(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  bytes.set(ascii(signature), 0);
  view.setUint32(4, bytes.length, true);
  bytes[8] = revision;
  bytes.set(ascii("TAPVSRTAPVISOR"), 10);
  view.setUint32(24, 1, true);
  bytes.set(ascii("TAPV"), 28);
  view.setUint32(32, 1, true);
  bytes.set(body, HEADER_BYTES);
  setChecksum(bytes, 9);
  return bytes;
}

function rootPointer(rsdt: number): Uint8Array {
  const bytes = new Uint8Array(20);
  bytes.set(ascii("RSD PTR "), 0);
  bytes.set(ascii("TAPVSR"), 9);
  new DataView(bytes.buffer).setUint32(16, rsdt, true);
  setChecksum(bytes, 8);
  return bytes;
}

function firmwareControlStructure(): Uint8Array {
  const bytes = new Uint8Array(FACS_BYTES);
  bytes.set(ascii("FACS"), 0);
  new DataView(bytes.buffer).setUint32(4, FACS_BYTES, true);
  return bytes;
}

function fixedDescription(facs: number, dsdt: number, pmBase: number, sciGsi: number): Uint8Array {
  const bytes = new Uint8Array(FADT.SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(FADT.FIRMWARE_CTRL, facs, true);
  view.setUint32(FADT.DSDT, dsdt, true);
  view.setUint16(FADT.SCI_INT, sciGsi, true);
  view.setUint32(FADT.PM1A_EVT_BLK, pmBase + PM_OFFSET.EVENT, true);
  view.setUint32(FADT.PM1A_CNT_BLK, pmBase + PM_OFFSET.CONTROL, true);
  view.setUint32(FADT.PM_TMR_BLK, pmBase + PM_OFFSET.TIMER, true);
  bytes[FADT.PM1_EVT_LEN] = 4;
  bytes[FADT.PM1_CNT_LEN] = 2;
  bytes[FADT.PM_TMR_LEN] = 4;
  // Latencies beyond these limits say that there is no C2 and no C3.
  view.setUint16(FADT.P_LVL2_LAT, 0xfff, true);
  view.setUint16(FADT.P_LVL3_LAT, 0xfff, true);
  view.setUint32(FADT.FLAGS, FADT_FLAGS, true);
  return bytes.subarray(HEADER_BYTES);
}

/** AML: `Name (_S3, Package (4) {type, type, 0, 0})`, and the same for `_S5`. */
function sleepStates(): Uint8Array {
  const NAME_OP = 0x08;
  const PACKAGE_OP = 0x12;
  const BYTE_PREFIX = 0x0a;
  return Uint8Array.from(
    Object.entries(SLEEP_TYPE).flatMap(([name, type]) => {
      const elements = [type, type, 0, 0].flatMap((value) => [BYTE_PREFIX, value]);
      return [NAME_OP, ...ascii(`_${name}_`), PACKAGE_OP, elements.length + 2, 4, ...elements];
    }),
  );
}

/** The MADT's body: a local APIC for each processor, enabled, and the I/O APIC from line 0 on. */
function interruptControllers(cpus: number): Uint8Array {
  const u32 = (value: number) => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
  const locals = Array.from({ length: cpus }, (_, id) => [0, 8, id, id, ...u32(1)]).flat();
  const ioApic = [1, 12, cpus, 0, ...u32(IOAPIC_DEFAULT_BASE), ...u32(0)];
  // Flags: there are 8259s too.
  return Uint8Array.from([...u32(APIC_DEFAULT_PHYS_BASE), ...u32(1), ...locals, ...ioApic]);
}
