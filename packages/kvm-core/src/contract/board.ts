export { APIC_DEFAULT_PHYS_BASE } from "@tapvisor/x86-isa";
import type { ByteSink, Device, DeviceEnvironment, IrqLine } from "./device.js";

/** Guest physical address of the I/O APIC (82093AA, "Register Description"). */
export const IOAPIC_DEFAULT_BASE = 0xfec0_0000;

/** What a board offers to the devices on it. */
export interface Board {
  readonly environment: DeviceEnvironment;
  /** Bytes of guest memory. */
  readonly memorySize: number;
  readonly cpus: number;
  /** Input `gsi` of the interrupt controllers. */
  irq(gsi: number): IrqLine;
  /** Where the machine's input from outside goes. */
  onInput(receiver: InputReceiver): void;
  /** Have the host take its mapping of one guest page away, as when it moves or swaps the page; the next access maps it again. */
  unmapPage(guestPhysAddr: number): void;
}

/** What takes input from outside: a serial port's receiver. */
export interface InputReceiver {
  receive(bytes: readonly number[]): void;
  /** The guest waits for input here: it is asked for before a machine that is idle is given up. */
  wantsInput(): boolean;
}

/** A device and its place: a port, or a guest physical address. */
export interface PlacedDevice {
  readonly bus: "port" | "memory";
  readonly base: number;
  readonly device: Device;
}

/** What firmware has done to a machine before an image is entered; no code of it runs. */
export interface FirmwareState {
  /** Bytes that it wrote to ports, in order. */
  readonly ports: readonly (readonly [port: number, value: number])[];
  /** What it left in guest memory, by guest physical address. */
  readonly memory: readonly { readonly address: number; readonly data: Uint8Array }[];
  /**
   * Where a guest leaves the address at which it wants to go on, in real mode, after sleep state S3: the waking vector
   * of ACPI's FACS. Without it the machine cannot sleep.
   */
  readonly wakingVectorAt?: number;
}

/** A kind of board by its name: which devices it has, and where. */
export interface BoardModel {
  readonly name: string;
  /** One line for a list of the boards there are. */
  readonly summary: string;
  /** Make the devices of one board. `console` takes what its first serial port sends. */
  devices(board: Board, console: ByteSink): readonly PlacedDevice[];
  firmware(board: Pick<Board, "memorySize" | "cpus">): FirmwareState;
}
