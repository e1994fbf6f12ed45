import { describe, expect, it } from "vitest";
import { mc146818, RTC } from "../src/index.js";
import { environment, line } from "./support.js";

const SECOND = 1_000_000_000;
const B_24H = 0x02;

function setUp(initialTime = Date.UTC(2016, 1, 28, 23, 59, 58) / 1000) {
  const around = environment();
  const irq = line();
  let alarms = 0;
  const rtc = mc146818({
    environment: around.environment,
    line: irq,
    onAlarm: () => void alarms++,
    initialTime,
  });
  const read = (index: number) => {
    rtc.write(0, Uint8Array.of(index));
    const data = new Uint8Array(1);
    rtc.read(1, data);
    return data[0] ?? -1;
  };
  const write = (index: number, value: number) => {
    rtc.write(0, Uint8Array.of(index));
    rtc.write(1, Uint8Array.of(value));
  };
  const time = () => [RTC.CENTURY, RTC.YEAR, RTC.MONTH, RTC.DAY, RTC.HOURS, RTC.MINUTES, RTC.SECONDS].map(read);
  return { ...around, irq, rtc, read, write, time, alarms: () => alarms };
}

describe("the real-time clock", () => {
  it("goes by virtual time over the end of a day, in decimal digits, and knows leap years", () => {
    const { time, advance, read } = setUp();
    expect(time()).toEqual([0x20, 0x16, 0x02, 0x28, 0x23, 0x59, 0x58]);
    advance(2 * SECOND);
    expect(time()).toEqual([0x20, 0x16, 0x02, 0x29, 0x00, 0x00, 0x00]);
    // Sunday is 1; this is a Monday.
    expect(read(RTC.DAY_OF_WEEK)).toBe(2);
  });

  it("shows binary numbers and twelve hours where it is told to", () => {
    const { write, time } = setUp();
    write(RTC.B, 0x04);
    expect(time()).toEqual([20, 16, 2, 28, 11 | 0x80, 59, 58]);
    write(RTC.HOURS, 12);
    write(RTC.B, 0x04 | B_24H);
    expect(time()[4]).toBe(0);
  });

  it("goes on from the time that is written", () => {
    const { write, time, advance } = setUp();
    for (const [index, value] of [[RTC.YEAR, 0x99], [RTC.CENTURY, 0x19], [RTC.MONTH, 0x12], [RTC.DAY, 0x31]] as const)
      write(index, value); // prettier-ignore
    expect(time()).toEqual([0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58]);
    advance(3 * SECOND);
    expect(time()).toEqual([0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x01]);
  });

  it("says that an update is in progress right before each second, but not while time is being set", () => {
    const { read, write, advance } = setUp();
    expect(read(RTC.A)).toBe(0x26);
    advance(SECOND - 200_000);
    expect(read(RTC.A)).toBe(0xa6);
    write(RTC.B, 0x80 | B_24H);
    expect(read(RTC.A)).toBe(0x26);
    write(RTC.B, B_24H);
    advance(200_000);
    expect(read(RTC.A)).toBe(0x26);
  });

  it("raises its line at the alarm, until register C is read, and only where that is enabled", () => {
    const { read, write, advance, irq, alarms } = setUp();
    write(RTC.SECONDS_ALARM, 0x00);
    write(RTC.MINUTES_ALARM, 0xc0);
    write(RTC.HOURS_ALARM, 0xff);
    advance(2 * SECOND);
    expect([read(RTC.C), alarms()]).toEqual([0x30, 0]);
    write(RTC.B, B_24H | 0x20);
    advance(59 * SECOND);
    expect([irq.level, alarms()]).toEqual([false, 0]);
    advance(SECOND);
    expect([irq.level, alarms()]).toEqual([true, 1]);
    expect([read(RTC.C), irq.level, read(RTC.C)]).toEqual([0xb0, false, 0]);
  });

  it("interrupts with each update, and at the rate of register A", () => {
    const { read, write, advance, irq, timers } = setUp();
    write(RTC.B, B_24H | 0x10);
    advance(SECOND);
    expect([irq.level, read(RTC.C)]).toEqual([true, 0x90]);
    write(RTC.B, B_24H | 0x40);
    let ticks = 0;
    // 1024 Hz.
    for (let ms = 0; ms < 1000; ms++) {
      advance(1_000_000);
      if ((read(RTC.C) & 0x40) !== 0) ticks++;
    }
    expect(ticks).toBe(1000);
    write(RTC.B, B_24H);
    expect(timers()).toBe(0);
  });

  it("keeps its memory and time over a reset, which disables its interrupts, and all of it over a restore", () => {
    const first = setUp();
    first.write(0x40, 0x5a);
    first.write(RTC.B, B_24H | 0x10);
    first.advance(SECOND);
    const saved = first.rtc.saveState();
    first.rtc.reset();
    expect([first.read(0x40), first.read(RTC.B), first.irq.level]).toEqual([0x5a, B_24H, false]);
    const second = setUp();
    second.advance(SECOND);
    second.rtc.restoreState(saved);
    expect([second.irq.level, second.read(0x40), second.read(RTC.C)]).toEqual([true, 0x5a, 0x90]);
    second.advance(SECOND);
    expect(second.irq.level).toBe(true);
  });
});
