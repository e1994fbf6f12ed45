import type { Device, DeviceEnvironment, IrqLine } from "@tapvisor/kvm-core";

/** What a device of {@link defineDevice} may use besides its state. */
export interface DeviceContext {
  readonly environment: DeviceEnvironment;
  /** The line that the machine gave it; it leads nowhere where the machine gave none. */
  readonly line: IrqLine;
}

/** A device in terms of its state: plain data, so that saving and restoring it needs no code. */
export interface DeviceDefinition<S extends object> {
  /** Name in traces and messages. */
  readonly name: string;
  /** Bytes that it occupies on its bus. */
  readonly size: number;
  /** The state that power-on leaves. */
  initialState(): S;
  /** Fill `data` from the registers at `offset`. Without it the device reads as all ones. */
  read?(state: S, offset: number, data: Uint8Array, context: DeviceContext): void;
  write?(state: S, offset: number, data: Uint8Array, context: DeviceContext): void;
  /** After the state was restored or reset: drive the line as it says, arm timers again. */
  stateChanged?(state: S, context: DeviceContext): void;
}

/** Makes one device of its kind; a machine may have several. */
export type DeviceFactory<S extends object> = (context: Partial<DeviceContext>) => Device<S>;

const NO_LINE: IrqLine = { set: () => {} };

/** Define a kind of device. Its shape is checked here, what its machine gives it when it is made. */
export function defineDevice<S extends object>(definition: DeviceDefinition<S>): DeviceFactory<S> {
  const { name, size } = definition;
  if (typeof name !== "string" || name === "") throw new TypeError("name of a device: expected a string, not empty");
  if (!Number.isSafeInteger(size) || size <= 0) {
    throw new TypeError(`device "${name}": size must be a positive number of bytes, got ${String(size)}`);
  }
  if (typeof definition.initialState !== "function") {
    throw new TypeError(`device "${name}": initialState must be a function`);
  }
  return ({ environment, line = NO_LINE }) => {
    let state = definition.initialState();
    const context = (): DeviceContext => {
      if (environment !== undefined) return { environment, line };
      throw new TypeError(`device "${name}" needs the environment of a machine, and was made without one`);
    };
    // Most devices never look at their environment: it is asked for only by those that do.
    const lazy: DeviceContext = {
      get environment() {
        return context().environment;
      },
      line,
    };
    return {
      name,
      size,
      read(offset, data) {
        data.fill(0xff);
        definition.read?.(state, offset, data, lazy);
      },
      write: (offset, data) => definition.write?.(state, offset, data, lazy),
      saveState: () => structuredClone(state),
      restoreState(saved) {
        state = structuredClone(saved);
        definition.stateChanged?.(state, lazy);
      },
      reset() {
        state = definition.initialState();
        definition.stateChanged?.(state, lazy);
      },
    };
  };
}
