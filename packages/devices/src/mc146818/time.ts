import { B, byteOf, RTC, type Mc146818State } from "./registers.js";

const HOUR_PM = 0x80;
/** An alarm register with both bits set matches every value. */
const DONT_CARE = 0xc0;

/** The registers of the time at a second of the host's clock, by index. */
export function timeAt(state: Mc146818State, hostSecond: number): ReadonlyMap<number, number> {
  const date = new Date((hostSecond + state.offset) * 1000);
  return new Map([
    [RTC.SECONDS, encode(state, date.getUTCSeconds())],
    [RTC.MINUTES, encode(state, date.getUTCMinutes())],
    [RTC.HOURS, encodeHour(state, date.getUTCHours())],
    [RTC.DAY_OF_WEEK, encode(state, date.getUTCDay() + 1)],
    [RTC.DAY, encode(state, date.getUTCDate())],
    [RTC.MONTH, encode(state, date.getUTCMonth() + 1)],
    [RTC.YEAR, encode(state, date.getUTCFullYear() % 100)],
    [RTC.CENTURY, encode(state, Math.floor(date.getUTCFullYear() / 100))],
  ]);
}

/** Set one register of the time: the others go on from where they are. */
export function setTime(state: Mc146818State, hostSecond: number, index: number, value: number): void {
  const date = new Date((hostSecond + state.offset) * 1000);
  const decoded = index === RTC.HOURS ? decodeHour(state, value) : decode(state, value);
  const year = date.getUTCFullYear();
  if (index === RTC.SECONDS) date.setUTCSeconds(decoded);
  else if (index === RTC.MINUTES) date.setUTCMinutes(decoded);
  else if (index === RTC.HOURS) date.setUTCHours(decoded);
  else if (index === RTC.DAY) date.setUTCDate(decoded);
  else if (index === RTC.MONTH) date.setUTCMonth(decoded - 1);
  else if (index === RTC.YEAR) date.setUTCFullYear(year - (year % 100) + decoded);
  else if (index === RTC.CENTURY) date.setUTCFullYear((year % 100) + decoded * 100);
  state.offset = date.getTime() / 1000 - hostSecond;
}

/** Each alarm register matches the time, or does not care. */
export function alarmMatches(state: Mc146818State, hostSecond: number): boolean {
  const time = timeAt(state, hostSecond);
  return ([RTC.SECONDS, RTC.MINUTES, RTC.HOURS] as const).every((index) => {
    const alarm = byteOf(state, index + 1);
    return (alarm & DONT_CARE) === DONT_CARE || alarm === time.get(index);
  });
}

const has = (state: Mc146818State, bit: number) => (byteOf(state, RTC.B) & bit) !== 0;

/** A number as the registers have it: binary, or two decimal digits. */
function encode(state: Mc146818State, value: number): number {
  return has(state, B.BINARY) ? value : (Math.floor(value / 10) << 4) | (value % 10);
}

function decode(state: Mc146818State, value: number): number {
  return has(state, B.BINARY) ? value : (value >> 4) * 10 + (value & 0xf);
}

function encodeHour(state: Mc146818State, hour: number): number {
  if (has(state, B.HOURS_24)) return encode(state, hour);
  return encode(state, hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? HOUR_PM : 0);
}

function decodeHour(state: Mc146818State, value: number): number {
  if (has(state, B.HOURS_24)) return decode(state, value);
  return (decode(state, value & ~HOUR_PM) % 12) + ((value & HOUR_PM) !== 0 ? 12 : 0);
}
