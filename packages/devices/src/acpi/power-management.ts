import { defineDevice, type DeviceEnvironment, type IrqLine } from "@tapvisor/kvm-core/contract";

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

export interface PowerManagementContext {
  readonly environment: Pick<DeviceEnvironment, "clock" | "requestStop" | "requestWake">;
  /** The system control interrupt. */
  readonly line: IrqLine;
}

export interface PowerManagementActions {
  /** The alarm of the real-time clock: it wakes a machine that asked for it. */
  alarm(): void;
}

/** Bytes of the three register blocks. */
const SIZE = 12;

/** The fixed hardware of ACPI: PM1 event and control registers, and the power management timer. */
export const powerManagement = defineDevice<
  PowerManagementState,
  PowerManagementContext,
  never,
  PowerManagementActions
>({
  name: "acpi pm",
  size: SIZE,
  initialState: () => ({ status: 0, enable: 0, control: CONTROL.SCI_EN }),
  read: (state, offset, data, context) =>
    data.set(new Uint8Array(registers(state, context).buffer).subarray(offset, offset + data.length)),
  write(state, offset, data, context) {
    const written = registers(state, context);
    // Status bits that are not written stay: a 1 clears.
    written.setUint16(PM_OFFSET.EVENT, 0, true);
    new Uint8Array(written.buffer).set(data, offset);
    const control = written.getUint16(PM_OFFSET.CONTROL, true);
    state.status &= ~written.getUint16(PM_OFFSET.EVENT, true);
    state.enable = written.getUint16(PM_OFFSET.EVENT + 2, true) & PM1_ENABLES;
    // SLP_EN is write-only.
    state.control = control & ~CONTROL.SLP_EN;
    drive(state, context);
    if ((control & CONTROL.SLP_EN) !== 0) sleep(state, context);
  },
  // What may wake the machine is kept while it sleeps.
  reset: (state) => void (state.control = CONTROL.SCI_EN),
  stateChanged: drive,
  actions: {
    alarm(state, context) {
      state.status |= PM1.RTC;
      if ((state.enable & PM1.RTC) !== 0) {
        state.status |= PM1.WAKE;
        context.environment.requestWake();
      }
      drive(state, context);
    },
  },
});

function drive({ status, enable, control }: PowerManagementState, { line }: PowerManagementContext): void {
  line.set((control & CONTROL.SCI_EN) !== 0 && (status & enable) !== 0);
}

function sleep({ control }: PowerManagementState, { environment }: PowerManagementContext): void {
  const type = (control >> CONTROL.SLP_TYP_SHIFT) & 7;
  if (type === SLEEP_TYPE.S3) environment.requestStop({ kind: "suspend" });
  else if (type === SLEEP_TYPE.S5) environment.requestStop({ kind: "shutdown" });
}

/** All registers as bytes in order. */
function registers({ status, enable, control }: PowerManagementState, { environment }: PowerManagementContext) {
  const view = new DataView(new ArrayBuffer(SIZE));
  view.setUint16(PM_OFFSET.EVENT, status, true);
  view.setUint16(PM_OFFSET.EVENT + 2, enable, true);
  view.setUint16(PM_OFFSET.CONTROL, control, true);
  view.setUint32(PM_OFFSET.TIMER, timerTicks(environment.clock.now()), true);
  return view;
}

function timerTicks(ns: number): number {
  const seconds = Math.floor(ns / NS_PER_SECOND);
  const ticks = seconds * TIMER_HZ + Math.floor(((ns - seconds * NS_PER_SECOND) * TIMER_HZ) / NS_PER_SECOND);
  return ticks % 2 ** 24;
}
