import type { HostClock, HostTimers } from "../host/index.js";

/** The two address spaces in which a guest finds devices: I/O ports, and guest physical memory. */
export type BusSpace = "port" | "memory";

/** What a bus needs of a device. */
export interface BusDevice {
  /** Name in traces and messages, as the data sheet has it. */
  readonly name: string;
  /** Bytes that it occupies on its bus. */
  readonly size: number;
  /**
   * Read `data.length` bytes (1, 2, 4 or 8) at `offset`, little-endian, into `data`. A device without such a register
   * leaves all ones, as an undriven bus does.
   */
  read(offset: number, data: Uint8Array): void;
  /** Write `data.length` bytes at `offset`. The bytes are the device's only until it returns. */
  write(offset: number, data: Uint8Array): void;
}

/**
 * A device on a port or memory bus. It does not know where it lives: it sees offsets from its first byte, and whoever
 * builds the machine gives it its place, its line and its sink.
 *
 * `S` is the type of its state: plain data, apart from the device, that a JSON or structured-clone copy survives.
 */
export interface Device<S = unknown> extends BusDevice {
  /** The state as plain data. */
  saveState(): S;
  restoreState(state: S): void;
  /** Back to what power-on leaves. */
  reset(): void;
}

/** The line that a device raises; level-triggered as far as the device is concerned. */
export interface IrqLine {
  set(level: boolean): void;
}

/** Where a device's output goes: the console, a file, a test's buffer. */
export interface ByteSink {
  write(bytes: Uint8Array): void;
}

/** What a device may ask of the machine that it is part of, besides its line and its sink. */
export interface DeviceEnvironment {
  readonly clock: HostClock;
  readonly timers: HostTimers;
  /** Ask `machine.run()` to stop once the access that is under way is complete. The first request counts. */
  requestStop(stop: DeviceStop): void;
  /** A device wakes the machine from `suspend`; of a machine that is awake it asks nothing. */
  requestWake(): void;
}

/** Why a device stopped the machine. `value` is what the guest wrote to the debug-exit port; `suspend` is sleep state S3. */
export type DeviceStop =
  | { readonly kind: "debug-exit"; readonly value: number }
  | { readonly kind: "shutdown" }
  | { readonly kind: "reset" }
  | { readonly kind: "suspend" };

/** A device and its place on a bus. */
export interface PlacedOnBus {
  /** Port, or guest physical address. */
  readonly base: number;
  readonly device: BusDevice;
  /** It answers inside `vcpu.run()`; any other is user space's, and is reached by way of an exit. */
  readonly inKernel: boolean;
}

/**
 * Ports or guest physical addresses, and the devices that claim them: struct kvm_io_bus, with user space's devices on it
 * too. Interrupt controllers and timer are there once they are created.
 */
export interface IoBus {
  /** First address behind the bus. */
  readonly limit: number;
  /**
   * Put a device of user space's at `base`; the result takes it off again.
   *
   * @param base port, or guest physical address
   * @throws KvmError EEXIST where another device is; EBUSY where guests access the hardware directly; EINVAL for a place
   * that is not on the bus
   */
  attach(base: number, device: BusDevice): { dispose(): void };
  /** Who claims all of the bytes. */
  find(address: number, length: number): PlacedOnBus | undefined;
  /** Hand an access to the device that claims all of its bytes; false, with nothing done, where none does. */
  read(address: number, data: Uint8Array): boolean;
  write(address: number, data: Uint8Array): boolean;
  /** Every device with its place, in order of address. */
  devices(): readonly PlacedOnBus[];
}
