/** Registers by their index (MC146818A data sheet, "Address Map"). */
export const RTC = {
  SECONDS: 0, SECONDS_ALARM: 1, MINUTES: 2, MINUTES_ALARM: 3, HOURS: 4, HOURS_ALARM: 5, DAY_OF_WEEK: 6, DAY: 7,
  MONTH: 8, YEAR: 9, A: 10, B: 11, C: 12, D: 13, CENTURY: 0x32,
} as const; // prettier-ignore
export const A = { UIP: 0x80, RATE: 0x0f } as const;
export const B = { SET: 0x80, PIE: 0x40, AIE: 0x20, UIE: 0x10, BINARY: 0x04, HOURS_24: 0x02 } as const;
export const C = { IRQF: 0x80, PF: 0x40, AF: 0x20, UF: 0x10 } as const;
export const D_VALID = 0x80;
export const CMOS_BYTES = 128;

/** The clock and its memory: plain data. */
export interface Mc146818State {
  index: number;
  /** What the bytes hold; those of the time follow from the clock. */
  bytes: number[];
  /** Seconds between the host's clock and the time since 1970. */
  offset: number;
  /** The second up to which update and alarm have been looked at. */
  seen: number;
  /** When the periodic interrupt comes next, ns of the host's clock, or null. */
  periodicAt: number | null;
}

/** What a register holds, where it is no register of the time. */
export function byteOf({ bytes }: Mc146818State, index: number): number {
  return bytes[index] ?? 0;
}
