import type { Device, DeviceEnvironment, IrqLine } from "@tapvisor/kvm-core/contract";

/** Where the register blocks are within the device. */
export const PM_OFFSET = { EVENT: 0, CONTROL: 4, TIMER: 8 } as const;
/** Bits of PM1 status and enable (ACPI specification, "PM1 Event Grouping"). */
const PM1 = { RTC: 1 << 10, WAKE: 1 << 15 } as const;
const PM1_ENABLES = 0x0721;
/** Bits of PM1 control. */
const CONTROL = { SCI_EN: 1, SLP_TYP_SHIFT: 10, SLP_EN: 1 << 13 } as const;
/** What the DSDT says to write to SLP_TYP. */
export const SLEEP_TYPE = { S3: 1, S5: 0 } as const;
/** Ticks of the power management timer in a second; it has 24 bits. */
const TIMER_HZ = 3_579_545;
const NS_PER_SECOND = 1_000_000_000;

/** The registers: plain data. */
export interface PowerManagementState {
  status: number;
  enable: number;
  control: number;
}

/** The fixed hardware of ACPI: PM1 event and control registers, and the power management timer. */
export class PowerManagement implements Device<PowerManagementState> {
  readonly name = "acpi pm";
  readonly size = 12;
  #state: PowerManagementState = { status: 0, enable: 0, control: CONTROL.SCI_EN };

  constructor(
    private readonly environment: Pick<DeviceEnvironment, "clock" | "requestStop" | "requestWake">,
    private readonly sci: IrqLine,
  ) {}

  /** The alarm of the real-time clock: it wakes a machine that asked for it. */
  alarm(): void {
    this.#state.status |= PM1.RTC;
    if ((this.#state.enable & PM1.RTC) !== 0) {
      this.#state.status |= PM1.WAKE;
      this.environment.requestWake();
    }
    this.#drive();
  }

  #drive(): void {
    const { status, enable, control } = this.#state;
    this.sci.set((control & CONTROL.SCI_EN) !== 0 && (status & enable) !== 0);
  }

  #timer(): number {
    const ns = this.environment.clock.now();
    const seconds = Math.floor(ns / NS_PER_SECOND);
    const ticks = seconds * TIMER_HZ + Math.floor(((ns - seconds * NS_PER_SECOND) * TIMER_HZ) / NS_PER_SECOND);
    return ticks % 2 ** 24;
  }

  /** All registers as bytes in order. */
  #registers(): DataView {
    const view = new DataView(new ArrayBuffer(this.size));
    view.setUint16(PM_OFFSET.EVENT, this.#state.status, true);
    view.setUint16(PM_OFFSET.EVENT + 2, this.#state.enable, true);
    view.setUint16(PM_OFFSET.CONTROL, this.#state.control, true);
    view.setUint32(PM_OFFSET.TIMER, this.#timer(), true);
    return view;
  }

  read(offset: number, data: Uint8Array): void {
    data.set(new Uint8Array(this.#registers().buffer).subarray(offset, offset + data.length));
  }

  write(offset: number, data: Uint8Array): void {
    const before = this.#registers();
    const after = this.#registers();
    // Status bits that are not written stay: a 1 clears.
    after.setUint16(PM_OFFSET.EVENT, 0, true);
    new Uint8Array(after.buffer).set(data, offset);
    const cleared = after.getUint16(PM_OFFSET.EVENT, true);
    this.#state = {
      status: before.getUint16(PM_OFFSET.EVENT, true) & ~cleared,
      enable: after.getUint16(PM_OFFSET.EVENT + 2, true) & PM1_ENABLES,
      // SLP_EN is write-only.
      control: after.getUint16(PM_OFFSET.CONTROL, true) & ~CONTROL.SLP_EN,
    };
    this.#drive();
    if ((after.getUint16(PM_OFFSET.CONTROL, true) & CONTROL.SLP_EN) !== 0) this.#sleep();
  }

  #sleep(): void {
    const type = (this.#state.control >> CONTROL.SLP_TYP_SHIFT) & 7;
    if (type === SLEEP_TYPE.S3) this.environment.requestStop({ kind: "suspend" });
    else if (type === SLEEP_TYPE.S5) this.environment.requestStop({ kind: "shutdown" });
  }

  /** What may wake the machine is kept while it sleeps. */
  reset(): void {
    this.#state = { ...this.#state, control: CONTROL.SCI_EN };
    this.#drive();
  }

  saveState(): PowerManagementState {
    return { ...this.#state };
  }

  restoreState(state: PowerManagementState): void {
    this.#state = { ...state };
    this.#drive();
  }
}
