/** Frequency of the counters in Hz. */
const FREQUENCY = 1_193_182;
const NS_PER_SECOND = 1_000_000_000;

/** Access to a counter: which bytes of it (8254 data sheet, "Control Word Format"). */
export const ACCESS = { LATCH: 0, LSB: 1, MSB: 2, WORD: 3 } as const;
/** Of an access to a word, the second byte is next. */
const SECOND_BYTE = 4;
/** A mode that no control word sets: the counter has not been programmed. */
const UNPROGRAMMED = 0xff;

/** State of one counter as plain data: struct kvm_pit_channel_state. */
export interface I8254ChannelState {
  /** Initial count, 1 to 65536. */
  count: number;
  /** Which byte of the count that was latched is read next: 0 when none is. */
  countLatched: number;
  latchedCount: number;
  statusLatched: boolean;
  status: number;
  readState: number;
  writeState: number;
  writeLatch: number;
  access: number;
  mode: number;
  bcd: boolean;
  gate: boolean;
  /** When the count was loaded, ns of the host's clock. */
  countLoadTime: number;
}

/** One counter of an 8254 (i8254.c). It counts binary, whatever was asked for. */
export class I8254Channel {
  #state: I8254ChannelState;

  /**
   * @param now ns of the host's clock
   * @param loaded a count was loaded: its period in ns
   */
  constructor(
    private readonly now: () => number,
    private readonly gateAtReset: boolean,
    private readonly loaded: (periodNs: number) => void,
  ) {
    this.#state = this.#powerOn();
  }

  #powerOn(): I8254ChannelState {
    return {
      count: 0x10000, countLatched: 0, latchedCount: 0, statusLatched: false, status: 0, readState: 0, writeState: 0,
      writeLatch: 0, access: 0, mode: UNPROGRAMMED, bcd: false, gate: this.gateAtReset, countLoadTime: this.now(),
    }; // prettier-ignore
  }

  reset(): void {
    this.#state = this.#powerOn();
  }

  get mode(): number {
    return this.#state.mode;
  }

  get gate(): boolean {
    return this.#state.gate;
  }

  /** A rising gate starts the count again in the modes that it triggers (data sheet, "Gate Pin Operations"). */
  set gate(level: boolean) {
    const s = this.#state;
    if (level && !s.gate && s.mode !== 0 && s.mode !== 4) s.countLoadTime = this.now();
    s.gate = level;
  }

  getState(): I8254ChannelState {
    return { ...this.#state };
  }

  setState(state: I8254ChannelState): void {
    this.#state = { ...state };
  }

  /** Ticks since the count was loaded. */
  #ticks(): number {
    const elapsed = this.now() - this.#state.countLoadTime;
    const seconds = Math.floor(elapsed / NS_PER_SECOND);
    return seconds * FREQUENCY + Math.floor(((elapsed - seconds * NS_PER_SECOND) * FREQUENCY) / NS_PER_SECOND);
  }

  /** pit_get_count. */
  #current(): number {
    const { count, mode } = this.#state;
    const ticks = this.#ticks();
    switch (mode) {
      case 0:
      case 1:
      case 4:
      case 5:
        return (count - ticks) & 0xffff;
      case 3:
        // It counts down by two, twice a period.
        return count - ((2 * ticks) % count);
      default:
        return count - (ticks % count);
    }
  }

  /** pit_get_out: the level of the OUT pin. */
  get output(): boolean {
    const { count, mode } = this.#state;
    const ticks = this.#ticks();
    switch (mode) {
      case 0:
        return ticks >= count;
      case 1:
        return ticks < count;
      case 2:
        return ticks % count === 0 && ticks !== 0;
      case 3:
        return ticks % count < (count + 1) >> 1;
      case 4:
      case 5:
        return ticks === count;
      default:
        return false;
    }
  }

  #load(value: number): void {
    const s = this.#state;
    // 0 is the largest count.
    s.count = value === 0 ? 0x10000 : value;
    s.countLoadTime = this.now();
    this.loaded(Math.floor((s.count * NS_PER_SECOND) / FREQUENCY));
  }

  /** The control word of this counter. */
  control(access: number, mode: number, bcd: boolean): void {
    if (access === ACCESS.LATCH) {
      this.latchCount();
      return;
    }
    // 6 and 7 are 2 and 3.
    Object.assign(this.#state, {
      access, readState: access, writeState: access, mode: mode > 5 ? mode - 4 : mode, bcd,
    }); // prettier-ignore
  }

  /** A count that is latched stays so until it has been read. */
  latchCount(): void {
    const s = this.#state;
    if (s.countLatched !== 0) return;
    s.latchedCount = this.#current();
    s.countLatched = s.access;
  }

  latchStatus(): void {
    const s = this.#state;
    if (s.statusLatched) return;
    s.status = (this.output ? 0x80 : 0) | (s.access << 4) | ((s.mode & 7) << 1) | (s.bcd ? 1 : 0);
    s.statusLatched = true;
  }

  write(value: number): void {
    const s = this.#state;
    switch (s.writeState) {
      case ACCESS.MSB:
        this.#load(value << 8);
        return;
      case ACCESS.WORD:
        s.writeLatch = value;
        s.writeState = SECOND_BYTE;
        return;
      case SECOND_BYTE:
        s.writeState = ACCESS.WORD;
        this.#load(s.writeLatch | (value << 8));
        return;
      default:
        this.#load(value);
    }
  }

  read(): number {
    const s = this.#state;
    if (s.statusLatched) {
      s.statusLatched = false;
      return s.status;
    }
    const latched = s.countLatched !== 0;
    const part = latched ? s.countLatched : s.readState;
    const count = latched ? s.latchedCount : this.#current();
    const next = part === ACCESS.WORD ? SECOND_BYTE : 0;
    if (latched) s.countLatched = next;
    else if (part === ACCESS.WORD) s.readState = SECOND_BYTE;
    else if (part === SECOND_BYTE) s.readState = ACCESS.WORD;
    return part === ACCESS.MSB || part === SECOND_BYTE ? (count >> 8) & 0xff : count & 0xff;
  }
}
