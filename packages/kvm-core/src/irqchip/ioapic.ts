import type { BusDevice } from "../contract/index.js";
import type { ApicMessage } from "./apic-message.js";

/** Offsets of the registers in its page (82093AA data sheet, "I/O APIC Register Description"). */
const IOREGSEL = 0x00;
const IOWIN = 0x10;
const EOI = 0x40;
/** What IOREGSEL selects. */
const REGISTER_ID = 0;
const REGISTER_VERSION = 1;
const REGISTER_ARBITRATION = 2;
const REDIRECTION_START = 0x10;

const PAGE_BYTES = 0x100;
const PINS = 24;
/** Version 0x11: 24 entries. */
const VERSION = 0x11 | ((PINS - 1) << 16);

/** Low word of a redirection entry. */
const REDIRECTION = {
  VECTOR: 0xff,
  DELIVERY_MODE: 0x700,
  LOGICAL: 1 << 11,
  DELIVERY_STATUS: 1 << 12,
  REMOTE_IRR: 1 << 14,
  LEVEL: 1 << 15,
  MASKED: 1 << 16,
} as const;
const READ_ONLY = REDIRECTION.DELIVERY_STATUS | REDIRECTION.REMOTE_IRR;

/** State of the I/O APIC as plain data: KVM_GET_IRQCHIP. */
export interface IoapicState {
  readonly select: number;
  readonly id: number;
  /** Lines that are asserted, a bit each. */
  readonly irr: number;
  /** Two words an entry, low first. */
  readonly redirection: readonly number[];
}

/** What the I/O APIC asks of the VM that it is part of. */
export interface IoapicParts {
  /** Hand a message to the local APICs that it is for; how many took it. */
  readonly deliver: (message: ApicMessage) => number;
  /** Which vectors must exit on EOI has to be worked out again. */
  readonly requestScan: () => void;
  /** Told of each pin whose service ends. */
  readonly acknowledged: (pin: number) => void;
}

/** The I/O APIC that KVM has in the kernel (ioapic.c). */
export class Ioapic implements BusDevice {
  readonly name = "I/O APIC";
  readonly size = PAGE_BYTES;
  readonly pins = PINS;
  readonly #redirection = new Uint32Array(2 * PINS);
  #select = 0;
  #id = 0;
  /** Lines that are asserted. An edge that comes while its entry is masked is lost. */
  #irr = 0;

  constructor(private readonly parts: IoapicParts) {
    this.reset();
  }

  reset(): void {
    this.#select = this.#id = this.#irr = 0;
    for (let pin = 0; pin < PINS; pin++) {
      this.#redirection[2 * pin] = REDIRECTION.MASKED;
      this.#redirection[2 * pin + 1] = 0;
    }
  }

  getState(): IoapicState {
    return { select: this.#select, id: this.#id, irr: this.#irr, redirection: [...this.#redirection] };
  }

  setState(state: IoapicState): void {
    this.#select = state.select;
    this.#id = state.id;
    this.#irr = state.irr;
    this.#redirection.set(state.redirection);
    this.parts.requestScan();
  }

  /** A word of the redirection table; beyond its end there are ones. */
  #word(index: number): number {
    return this.#redirection[index] ?? 0xffffffff;
  }

  /** kvm_ioapic_set_irq. */
  setIrq(pin: number, level: boolean): void {
    const bit = 1 << pin;
    if (!level) {
      this.#irr &= ~bit;
      return;
    }
    const before = (this.#irr & bit) !== 0;
    this.#irr |= bit;
    const levelTriggered = (this.#word(2 * pin) & REDIRECTION.LEVEL) !== 0;
    if (levelTriggered || !before) this.#service(pin);
  }

  #service(pin: number): void {
    const bit = 1 << pin;
    const low = this.#word(2 * pin);
    if ((this.#irr & bit) === 0 || (low & REDIRECTION.MASKED) !== 0) return;
    const levelTriggered = (low & REDIRECTION.LEVEL) !== 0;
    if (levelTriggered && (low & REDIRECTION.REMOTE_IRR) !== 0) return;
    const delivered = this.parts.deliver({
      vector: low & REDIRECTION.VECTOR,
      deliveryMode: low & REDIRECTION.DELIVERY_MODE,
      logical: (low & REDIRECTION.LOGICAL) !== 0,
      level: true,
      levelTriggered,
      shorthand: 0,
      destination: this.#word(2 * pin + 1) >>> 24,
    });
    if (levelTriggered && delivered > 0) this.#redirection[2 * pin] = low | REDIRECTION.REMOTE_IRR;
  }

  /** kvm_ioapic_update_eoi: a local APIC ended a vector. One that is still asserted comes again. */
  endOfInterrupt(vector: number, levelTriggered: boolean): void {
    for (let pin = 0; pin < PINS; pin++) {
      const low = this.#word(2 * pin);
      if ((low & REDIRECTION.VECTOR) !== vector) continue;
      this.parts.acknowledged(pin);
      if (!levelTriggered || (low & REDIRECTION.LEVEL) === 0) continue;
      this.#redirection[2 * pin] = low & ~REDIRECTION.REMOTE_IRR;
      this.#service(pin);
    }
  }

  /** Mark the vectors whose EOI has to exit: those of level-triggered entries. */
  scanVectors(bitmap: BigUint64Array): void {
    for (let pin = 0; pin < PINS; pin++) {
      const low = this.#word(2 * pin);
      if ((low & REDIRECTION.LEVEL) === 0) continue;
      const vector = low & REDIRECTION.VECTOR;
      bitmap[vector >> 6] = (bitmap[vector >> 6] ?? 0n) | (1n << BigInt(vector & 63));
    }
  }

  #readWindow(): number {
    switch (this.#select) {
      case REGISTER_ID:
      case REGISTER_ARBITRATION:
        return (this.#id & 0xf) << 24;
      case REGISTER_VERSION:
        return VERSION;
      default:
        return this.#word(this.#select - REDIRECTION_START);
    }
  }

  #writeWindow(value: number): void {
    if (this.#select === REGISTER_ID) {
      this.#id = (value >>> 24) & 0xf;
      return;
    }
    const index = this.#select - REDIRECTION_START;
    if (index < 0 || index >= 2 * PINS) return;
    const pin = index >> 1;
    if ((index & 1) === 1) {
      this.#redirection[index] = value;
    } else {
      const kept = this.#word(index) & READ_ONLY;
      this.#redirection[index] = (value & ~READ_ONLY & 0x1ffff) | kept;
      // An edge-triggered entry has nothing in service.
      if ((value & REDIRECTION.LEVEL) === 0) this.#redirection[index] &= ~REDIRECTION.REMOTE_IRR;
    }
    this.parts.requestScan();
    const low = this.#word(2 * pin);
    if ((low & REDIRECTION.LEVEL) !== 0) this.#service(pin);
  }

  /** Registers are read by 1, 2 or 4 bytes, at a multiple of 16. */
  read(offset: number, into: Uint8Array): void {
    into.fill(0);
    const value = (offset & 0xf0) === IOREGSEL ? this.#select : (offset & 0xf0) === IOWIN ? this.#readWindow() : 0;
    for (let i = 0; i < Math.min(into.length, 4); i++) into[i] = (value >>> (8 * i)) & 0xff;
  }

  write(offset: number, data: Uint8Array): void {
    let value = 0;
    for (let i = Math.min(data.length, 4) - 1; i >= 0; i--) value = ((value << 8) | (data[i] ?? 0)) >>> 0;
    switch (offset & 0xf0) {
      case IOREGSEL:
        this.#select = value & 0xff;
        return;
      case IOWIN:
        this.#writeWindow(value);
        return;
      case EOI:
        this.endOfInterrupt(value & 0xff, true);
        return;
      default:
    }
  }
}
