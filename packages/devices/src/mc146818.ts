import type { Device, DeviceEnvironment, IrqLine, TimerHandle } from "@tapvisor/kvm-core/contract";

/** Registers by their index (MC146818A data sheet, "Address Map"). */
export const RTC = {
  SECONDS: 0, SECONDS_ALARM: 1, MINUTES: 2, MINUTES_ALARM: 3, HOURS: 4, HOURS_ALARM: 5, DAY_OF_WEEK: 6, DAY: 7,
  MONTH: 8, YEAR: 9, A: 10, B: 11, C: 12, D: 13, CENTURY: 0x32,
} as const; // prettier-ignore
const A = { UIP: 0x80, RATE: 0x0f } as const;
const B = { SET: 0x80, PIE: 0x40, AIE: 0x20, UIE: 0x10, BINARY: 0x04, HOURS_24: 0x02 } as const;
const C = { IRQF: 0x80, PF: 0x40, AF: 0x20, UF: 0x10 } as const;
const D_VALID = 0x80;
const HOUR_PM = 0x80;
/** An alarm register with both bits set matches every value. */
const DONT_CARE = 0xc0;
const NS_PER_SECOND = 1_000_000_000;
/** Update in progress is up so long before the registers change. */
const UIP_NS = 244_000;
const CMOS_BYTES = 128;
const SECONDS_PER_DAY = 86_400;

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

export interface Mc146818Options {
  readonly environment: Pick<DeviceEnvironment, "clock" | "timers">;
  readonly line: IrqLine;
  /** Told when the alarm goes off: what wakes a machine that sleeps. */
  readonly onAlarm?: () => void;
  /** Seconds since 1970 at power-on; the first of January 2000 unless told otherwise. */
  readonly initialTime?: number;
}

/** The real-time clock of a PC, by an index port and a data port. It goes by the machine's virtual time. */
export class Mc146818 implements Device<Mc146818State> {
  readonly name = "mc146818";
  readonly size = 2;
  readonly #environment: Mc146818Options["environment"];
  readonly #line: IrqLine;
  readonly #onAlarm: () => void;
  readonly #initialTime: number;
  readonly #second: TimerHandle;
  readonly #periodic: TimerHandle;
  #state: Mc146818State;

  constructor({ environment, line, onAlarm = () => {}, initialTime = Date.UTC(2000, 0) / 1000 }: Mc146818Options) {
    this.#environment = environment;
    this.#line = line;
    this.#onAlarm = onAlarm;
    this.#initialTime = initialTime;
    this.#second = environment.timers.create("mc146818 second", () => this.#update());
    this.#periodic = environment.timers.create("mc146818 periodic", () => this.#tick());
    this.#state = this.#powerOn();
  }

  #powerOn(): Mc146818State {
    const bytes = new Array<number>(CMOS_BYTES).fill(0);
    bytes[RTC.A] = 0x26;
    bytes[RTC.B] = B.HOURS_24;
    return { index: 0, bytes, offset: this.#initialTime, seen: this.#hostSecond(), periodicAt: null };
  }

  #hostSecond(): number {
    return Math.floor(this.#environment.clock.now() / NS_PER_SECOND);
  }

  #byte(index: number): number {
    return this.#state.bytes[index] ?? 0;
  }

  // --- time and alarms

  /** A number as the registers have it: binary, or two decimal digits. */
  #encode(value: number): number {
    return (this.#byte(RTC.B) & B.BINARY) !== 0 ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  #decode(value: number): number {
    return (this.#byte(RTC.B) & B.BINARY) !== 0 ? value : (value >> 4) * 10 + (value & 0xf);
  }

  #encodeHour(hour: number): number {
    if ((this.#byte(RTC.B) & B.HOURS_24) !== 0) return this.#encode(hour);
    return this.#encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? HOUR_PM : 0);
  }

  #decodeHour(value: number): number {
    if ((this.#byte(RTC.B) & B.HOURS_24) !== 0) return this.#decode(value);
    return (this.#decode(value & ~HOUR_PM) % 12) + ((value & HOUR_PM) !== 0 ? 12 : 0);
  }

  /** The registers of the time at a second of the host's clock. */
  #timeAt(hostSecond: number): ReadonlyMap<number, number> {
    const date = new Date((hostSecond + this.#state.offset) * 1000);
    return new Map([
      [RTC.SECONDS, this.#encode(date.getUTCSeconds())],
      [RTC.MINUTES, this.#encode(date.getUTCMinutes())],
      [RTC.HOURS, this.#encodeHour(date.getUTCHours())],
      [RTC.DAY_OF_WEEK, this.#encode(date.getUTCDay() + 1)],
      [RTC.DAY, this.#encode(date.getUTCDate())],
      [RTC.MONTH, this.#encode(date.getUTCMonth() + 1)],
      [RTC.YEAR, this.#encode(date.getUTCFullYear() % 100)],
      [RTC.CENTURY, this.#encode(Math.floor(date.getUTCFullYear() / 100))],
    ]);
  }

  /** Set one register of the time: the others go on from where they are. */
  #setTime(index: number, value: number): void {
    const second = this.#hostSecond();
    const date = new Date((second + this.#state.offset) * 1000);
    const decoded = index === RTC.HOURS ? this.#decodeHour(value) : this.#decode(value);
    const year = date.getUTCFullYear();
    if (index === RTC.SECONDS) date.setUTCSeconds(decoded);
    else if (index === RTC.MINUTES) date.setUTCMinutes(decoded);
    else if (index === RTC.HOURS) date.setUTCHours(decoded);
    else if (index === RTC.DAY) date.setUTCDate(decoded);
    else if (index === RTC.MONTH) date.setUTCMonth(decoded - 1);
    else if (index === RTC.YEAR) date.setUTCFullYear(year - (year % 100) + decoded);
    else if (index === RTC.CENTURY) date.setUTCFullYear((year % 100) + decoded * 100);
    this.#state.offset = date.getTime() / 1000 - second;
  }

  #alarmMatches(hostSecond: number): boolean {
    const time = this.#timeAt(hostSecond);
    return ([RTC.SECONDS, RTC.MINUTES, RTC.HOURS] as const).every((index) => {
      const alarm = this.#byte(index + 1);
      return (alarm & DONT_CARE) === DONT_CARE || alarm === time.get(index);
    });
  }

  /** The updates that have happened since the last look. */
  #update(): void {
    const now = this.#hostSecond();
    if (now > this.#state.seen && (this.#byte(RTC.B) & B.SET) === 0) {
      let alarm = false;
      const first = Math.max(this.#state.seen + 1, now - SECONDS_PER_DAY + 1);
      for (let second = first; second <= now && !alarm; second++) alarm = this.#alarmMatches(second);
      this.#raise(C.UF | (alarm ? C.AF : 0));
      if (alarm && (this.#byte(RTC.B) & B.AIE) !== 0) this.#onAlarm();
    }
    this.#state.seen = now;
    this.#arm();
  }

  #tick(): void {
    this.#raise(C.PF);
    const period = this.#period();
    this.#state.periodicAt = period === 0 ? null : (this.#state.periodicAt ?? 0) + period;
    this.#arm();
  }

  /** Period of the periodic interrupt in ns; 0 for none. */
  #period(): number {
    const rate = this.#byte(RTC.A) & A.RATE;
    if (rate === 0) return 0;
    // The first two choices are those of 256 and 128 Hz again.
    return Math.floor((NS_PER_SECOND * 2 ** ((rate <= 2 ? rate + 7 : rate) - 1)) / 32768);
  }

  #arm(): void {
    const b = this.#byte(RTC.B);
    if ((b & (B.AIE | B.UIE)) !== 0) this.#second.arm((this.#hostSecond() + 1) * NS_PER_SECOND);
    else this.#second.cancel();
    if ((b & B.PIE) === 0) this.#state.periodicAt = null;
    else if (this.#period() !== 0) this.#state.periodicAt ??= this.#environment.clock.now() + this.#period();
    if (this.#state.periodicAt === null) this.#periodic.cancel();
    else this.#periodic.arm(this.#state.periodicAt);
  }

  /** Set flags of register C; those whose interrupt is enabled raise the line. */
  #raise(flags: number): void {
    const { bytes } = this.#state;
    const c = this.#byte(RTC.C) | flags;
    bytes[RTC.C] = (c & this.#byte(RTC.B) & (C.PF | C.AF | C.UF)) !== 0 ? c | C.IRQF : c & ~C.IRQF;
    this.#line.set((this.#byte(RTC.C) & C.IRQF) !== 0);
  }

  // --- the ports

  read(offset: number, data: Uint8Array): void {
    // The index cannot be read.
    data.fill(0xff);
    if (offset === 1) data[0] = this.#readRegister(this.#state.index);
  }

  #readRegister(index: number): number {
    switch (index) {
      case RTC.A: {
        const left = (this.#hostSecond() + 1) * NS_PER_SECOND - this.#environment.clock.now();
        const updating = left <= UIP_NS && (this.#byte(RTC.B) & B.SET) === 0;
        return (this.#byte(RTC.A) & ~A.UIP) | (updating ? A.UIP : 0);
      }
      case RTC.C: {
        this.#update();
        const flags = this.#byte(RTC.C);
        this.#state.bytes[RTC.C] = 0;
        this.#line.set(false);
        return flags;
      }
      case RTC.D:
        return D_VALID;
      default:
        return this.#timeAt(this.#hostSecond()).get(index) ?? this.#byte(index);
    }
  }

  write(offset: number, data: Uint8Array): void {
    const value = data[0] ?? 0;
    // Bit 7 of the index masks NMIs, of which there is no source.
    if (offset === 0) this.#state.index = value & 0x7f;
    else this.#writeRegister(this.#state.index, value);
  }

  #writeRegister(index: number, value: number): void {
    if (index === RTC.C || index === RTC.D) return;
    this.#update();
    if (this.#timeAt(this.#hostSecond()).has(index)) this.#setTime(index, value);
    else this.#state.bytes[index] = index === RTC.A ? value & ~A.UIP : value;
    if (index === RTC.B) this.#raise(0);
    this.#arm();
  }

  // --- state

  /** A reset leaves the time and the memory, which a battery keeps, and disables the interrupts. */
  reset(): void {
    const { bytes } = this.#state;
    bytes[RTC.B] = this.#byte(RTC.B) & ~(B.PIE | B.AIE | B.UIE);
    bytes[RTC.C] = 0;
    this.#line.set(false);
    this.#arm();
  }

  saveState(): Mc146818State {
    return { ...this.#state, bytes: [...this.#state.bytes] };
  }

  restoreState(state: Mc146818State): void {
    this.#state = { ...state, bytes: [...state.bytes] };
    this.#line.set((this.#byte(RTC.C) & C.IRQF) !== 0);
    this.#arm();
  }
}
