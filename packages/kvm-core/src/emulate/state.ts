import type { BusSpace } from "../contract/index.js";
import type { Decoded } from "./decoded.js";

/** A read of a device that is done: what it answered is kept until the instruction completes. */
export interface CompletedRead {
  readonly space: BusSpace;
  readonly address: number;
  readonly data: Uint8Array;
}

/** An instruction that is being emulated. It starts over after each read that user space answered. */
export interface EmulationState {
  readonly decoded: Decoded;
  readonly reads: CompletedRead[];
  /** A forced-emulation prefix was before it. */
  readonly forced: boolean;
}

/** Something that the instruction writes, in order, once all of its reads are done: to memory that a slot backs, or a device. */
export interface DelayedWrite {
  readonly space: "ram" | BusSpace;
  readonly address: number;
  readonly data: Uint8Array;
}

/**
 * Thrown out of the evaluator: a read needs an answer of user space first. Each emulator has one, made beforehand,
 * because an error that is made takes its time to capture the stack.
 */
export class DeviceReadNeeded extends Error {
  space: BusSpace = "memory";
  address = 0;
  size = 0;

  constructor() {
    super("a device has to be read");
    this.name = "DeviceReadNeeded";
  }
}

/** Thrown out of the evaluator: the instruction asks for something that the emulator does not do. */
export class CannotEmulate extends Error {
  constructor(what: string) {
    super(`the emulator does not do this: ${what}`);
    this.name = "CannotEmulate";
  }
}
