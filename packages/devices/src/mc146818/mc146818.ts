import {
  defineDevice, type DeviceContext, type DeviceEnvironment, type HostClock, type IrqLine,
} from "@tapvisor/kvm-core/contract"; // prettier-ignore
import { A, B, byteOf, C, CMOS_BYTES, D_VALID, RTC, type Mc146818State } from "./registers.js";
import { alarmMatches, setTime, timeAt } from "./time.js";

const NS_PER_SECOND = 1_000_000_000;
const SECONDS_PER_DAY = 86_400;
/** Update in progress is up so long before the registers change. */
const UIP_NS = 244_000;

export interface Mc146818Context {
  readonly environment: Pick<DeviceEnvironment, "clock" | "timers">;
  readonly line: IrqLine;
  /** Told when the alarm goes off: what wakes a machine that sleeps. */
  readonly onAlarm: () => void;
  /** Seconds since 1970 at power-on; the first of January 2000 unless told otherwise. */
  readonly initialTime?: number;
}

type Context = DeviceContext<Mc146818Context, "second" | "periodic">;

/** The real-time clock of a PC, by an index port and a data port. It goes by the machine's virtual time. */
export const mc146818 = defineDevice<Mc146818State, Mc146818Context, "second" | "periodic">({
  name: "mc146818",
  size: 2,
  initialState({ environment, initialTime = Date.UTC(2000, 0) / 1000 }) {
    const bytes = new Array<number>(CMOS_BYTES).fill(0);
    bytes[RTC.A] = 0x26;
    bytes[RTC.B] = B.HOURS_24;
    return { index: 0, bytes, offset: initialTime, seen: secondOf(environment.clock), periodicAt: null };
  },
  read(state, offset, data, context) {
    // The index cannot be read.
    if (offset === 1) data[0] = readRegister(state, context);
  },
  write(state, offset, [value = 0], context) {
    // Bit 7 of the index masks NMIs, of which there is no source.
    if (offset === 0) state.index = value & 0x7f;
    else writeRegister(state, value, context);
  },
  timers: { second: update, periodic: tick },
  /** The time and the memory, which a battery keeps, stay; the interrupts are disabled. */
  reset(state) {
    state.bytes[RTC.B] = byteOf(state, RTC.B) & ~(B.PIE | B.AIE | B.UIE);
    state.bytes[RTC.C] = 0;
  },
  stateChanged(state, context) {
    context.line.set((byteOf(state, RTC.C) & C.IRQF) !== 0);
    arm(state, context);
  },
});

const secondOf = (clock: HostClock) => Math.floor(clock.now() / NS_PER_SECOND);
const enabled = (state: Mc146818State, bits: number) => (byteOf(state, RTC.B) & bits) !== 0;

function readRegister(state: Mc146818State, context: Context): number {
  const { clock } = context.environment;
  switch (state.index) {
    case RTC.A: {
      const left = (secondOf(clock) + 1) * NS_PER_SECOND - clock.now();
      const updating = left <= UIP_NS && !enabled(state, B.SET);
      return (byteOf(state, RTC.A) & ~A.UIP) | (updating ? A.UIP : 0);
    }
    case RTC.C: {
      update(state, context);
      const flags = byteOf(state, RTC.C);
      state.bytes[RTC.C] = 0;
      context.line.set(false);
      return flags;
    }
    case RTC.D:
      return D_VALID;
    default:
      return timeAt(state, secondOf(clock)).get(state.index) ?? byteOf(state, state.index);
  }
}

function writeRegister(state: Mc146818State, value: number, context: Context): void {
  const { index } = state;
  if (index === RTC.C || index === RTC.D) return;
  update(state, context);
  const second = secondOf(context.environment.clock);
  if (timeAt(state, second).has(index)) setTime(state, second, index, value);
  else state.bytes[index] = index === RTC.A ? value & ~A.UIP : value;
  if (index === RTC.B) raise(state, 0, context);
  arm(state, context);
}

/** The updates that have happened since the last look. */
function update(state: Mc146818State, context: Context): void {
  const now = secondOf(context.environment.clock);
  if (now > state.seen && !enabled(state, B.SET)) {
    let alarm = false;
    const first = Math.max(state.seen + 1, now - SECONDS_PER_DAY + 1);
    for (let second = first; second <= now && !alarm; second++) alarm = alarmMatches(state, second);
    raise(state, C.UF | (alarm ? C.AF : 0), context);
    if (alarm && enabled(state, B.AIE)) context.onAlarm();
  }
  state.seen = now;
  arm(state, context);
}

function tick(state: Mc146818State, context: Context): void {
  raise(state, C.PF, context);
  const ns = period(state);
  state.periodicAt = ns === 0 ? null : (state.periodicAt ?? 0) + ns;
  arm(state, context);
}

/** Period of the periodic interrupt in ns; 0 for none. */
function period(state: Mc146818State): number {
  const rate = byteOf(state, RTC.A) & A.RATE;
  if (rate === 0) return 0;
  // The first two choices are those of 256 and 128 Hz again.
  return Math.floor((NS_PER_SECOND * 2 ** ((rate <= 2 ? rate + 7 : rate) - 1)) / 32768);
}

function arm(state: Mc146818State, { environment: { clock }, timers }: Context): void {
  if (enabled(state, B.AIE | B.UIE)) timers.second.arm((secondOf(clock) + 1) * NS_PER_SECOND);
  else timers.second.cancel();
  if (!enabled(state, B.PIE)) state.periodicAt = null;
  else if (period(state) !== 0) state.periodicAt ??= clock.now() + period(state);
  if (state.periodicAt === null) timers.periodic.cancel();
  else timers.periodic.arm(state.periodicAt);
}

/** Set flags of register C; those whose interrupt is enabled raise the line. */
function raise(state: Mc146818State, flags: number, { line }: Context): void {
  const c = byteOf(state, RTC.C) | flags;
  const interrupt = (c & byteOf(state, RTC.B) & (C.PF | C.AF | C.UF)) !== 0;
  state.bytes[RTC.C] = interrupt ? c | C.IRQF : c & ~C.IRQF;
  line.set(interrupt);
}
