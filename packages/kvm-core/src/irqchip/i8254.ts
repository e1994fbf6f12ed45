import { byteRegisters } from "../buses/byte-registers.js";
import type { BusDevice, TimerHandle } from "../contract/index.js";
import { I8254Channel, type I8254ChannelState } from "./i8254-channel.js";

const COUNTER_0 = 0x40;
const CONTROL = 0x43;
const SPEAKER = 0x61;
/** Control word: bits 7 and 6 are 3 for the read-back command, which latches the counters that it names. */
const READ_BACK = 3;
const READ_BACK_NO_COUNT = 0x20;
const READ_BACK_NO_STATUS = 0x10;
/** Port 0x61. */
const SPEAKER_GATE = 0x01;
const SPEAKER_DATA = 0x02;
const SPEAKER_REFRESH = 0x10;
const SPEAKER_OUTPUT = 0x20;
/** min_timer_period_us: a guest may not make the host's timers a load. */
const MIN_PERIOD_NS = 500_000;

/** KVM_GET_PIT2. */
export interface I8254State {
  readonly channels: readonly [I8254ChannelState, I8254ChannelState, I8254ChannelState];
  readonly speakerData: boolean;
  /** Ticks of counter 0 that the guest has not yet taken. */
  readonly pending: number;
  readonly acknowledged: boolean;
  /** When counter 0 ticks next, ns of the host's clock; undefined when it is stopped. */
  readonly deadline: number | undefined;
}

export interface I8254Parts {
  /** ns of the host's clock. */
  readonly now: () => number;
  readonly createTimer: (name: string, fire: () => void) => TimerHandle;
  /** Interrupt 0. */
  readonly setIrq: (level: boolean) => void;
}

/**
 * The 8254 timer that KVM has in the kernel (i8254.c), with the port of the speaker. Ticks of counter 0 that the guest
 * misses are injected again one after another, as KVM does unless told otherwise.
 */
export class I8254 {
  readonly #now: () => number;
  readonly #setIrq: (level: boolean) => void;
  readonly #timer: TimerHandle;
  readonly #channels: readonly [I8254Channel, I8254Channel, I8254Channel];
  #speakerData = false;
  #period = 0;
  #deadline = 0;
  #pending = 0;
  #acknowledged = true;

  constructor({ now, createTimer, setIrq }: I8254Parts) {
    this.#now = now;
    this.#setIrq = setIrq;
    this.#timer = createTimer("i8254", () => this.#tick());
    // The gate of counter 2 is a bit of port 0x61.
    this.#channels = [
      new I8254Channel(now, true, (period) => this.#start(period)),
      new I8254Channel(now, true, () => {}),
      new I8254Channel(now, false, () => {}),
    ];
  }

  getState(): I8254State {
    const [counter0, counter1, counter2] = this.#channels;
    return {
      channels: [counter0.getState(), counter1.getState(), counter2.getState()],
      speakerData: this.#speakerData,
      pending: this.#pending,
      acknowledged: this.#acknowledged,
      deadline: this.#timer.deadline,
    };
  }

  setState(state: I8254State): void {
    const [counter0, counter1, counter2] = this.#channels;
    const [first, second, third] = state.channels;
    counter0.setState(first);
    counter1.setState(second);
    counter2.setState(third);
    this.#speakerData = state.speakerData;
    this.#start(Math.floor((first.count * 1_000_000_000) / 1_193_182));
    this.#pending = state.pending;
    this.#acknowledged = state.acknowledged;
    if (state.deadline === undefined) this.#timer.cancel();
    else this.#arm(state.deadline);
  }

  /** Power-on: nothing is programmed, and nothing ticks. */
  reset(): void {
    this.#timer.cancel();
    for (const channel of this.#channels) channel.reset();
    this.#speakerData = false;
    this.#pending = 0;
    this.#acknowledged = true;
  }

  get #isPeriodic(): boolean {
    const { mode } = this.#channels[0];
    return mode === 2 || mode === 3;
  }

  /** create_pit_timer: modes 0, 1 and 4 tick once, 2 and 3 again and again, and 5 never without its gate. */
  #start(period: number): void {
    this.#timer.cancel();
    this.#pending = 0;
    this.#acknowledged = true;
    this.#period = this.#isPeriodic ? Math.max(period, MIN_PERIOD_NS) : period;
    if (this.#channels[0].mode <= 4) this.#arm(this.#now() + this.#period);
  }

  #arm(deadline: number): void {
    this.#deadline = deadline;
    this.#timer.arm(deadline);
  }

  #tick(): void {
    this.#pending += 1;
    this.#inject();
    if (this.#isPeriodic) this.#arm(this.#deadline + this.#period);
  }

  /** pit_do_work: not before the tick before has been taken. */
  #inject(): void {
    if (!this.#acknowledged) return;
    this.#acknowledged = false;
    this.#setIrq(true);
    this.#setIrq(false);
  }

  /** kvm_pit_ack_irq: the service of interrupt 0 has ended. */
  irqAcknowledged(): void {
    this.#acknowledged = true;
    if (this.#pending === 0) return;
    this.#pending -= 1;
    if (this.#pending > 0) this.#inject();
  }

  /** Its registers, and the speaker's port, as devices on the port bus, with their places. */
  devices(): readonly (readonly [port: number, device: BusDevice])[] {
    return [
      [
        COUNTER_0,
        byteRegisters(
          "8254",
          CONTROL - COUNTER_0 + 1,
          (at) => this.#read(at),
          (at, value) => this.#write(at, value),
        ),
      ],
      [
        SPEAKER,
        byteRegisters(
          "speaker",
          1,
          () => this.#readSpeaker(),
          (_at, value) => this.#writeSpeaker(value),
        ),
      ],
    ];
  }

  /** The control word cannot be read. */
  #read(at: number): number {
    return this.#channels[at]?.read() ?? 0;
  }

  #write(at: number, value: number): void {
    const channel = this.#channels[at];
    if (channel === undefined) this.#control(value);
    else channel.write(value);
  }

  #writeSpeaker(value: number): void {
    this.#speakerData = (value & SPEAKER_DATA) !== 0;
    this.#channels[2].gate = (value & SPEAKER_GATE) !== 0;
  }

  #control(value: number): void {
    const select = value >> 6;
    if (select !== READ_BACK) {
      this.#channels[select]?.control((value >> 4) & 3, (value >> 1) & 7, (value & 1) === 1);
      return;
    }
    for (const [i, channel] of this.#channels.entries()) {
      if ((value & (2 << i)) === 0) continue;
      if ((value & READ_BACK_NO_COUNT) === 0) channel.latchCount();
      if ((value & READ_BACK_NO_STATUS) === 0) channel.latchStatus();
    }
  }

  #readSpeaker(): number {
    const [, , channel] = this.#channels;
    // The refresh bit toggles every 16 us: software measures time by it.
    const refresh = Math.floor(this.#now() / 2 ** 14) % 2 === 1;
    return (
      (this.#speakerData ? SPEAKER_DATA : 0) |
      (channel.gate ? SPEAKER_GATE : 0) |
      (channel.output ? SPEAKER_OUTPUT : 0) |
      (refresh ? SPEAKER_REFRESH : 0)
    );
  }
}
