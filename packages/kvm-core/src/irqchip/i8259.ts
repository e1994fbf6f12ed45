/** Initialization command word 1 (8259A data sheet, "Initialization Command Words"). */
const ICW1 = { SELECT: 0x10, NEEDS_ICW4: 0x01 } as const;
const ICW4 = { AUTO_EOI: 0x02, FULLY_NESTED_SPECIAL: 0x10 } as const;
/** Operation command word 3. */
const OCW3 = {
  SELECT: 0x08, POLL: 0x04, READ_REGISTER: 0x02, READ_ISR: 0x01, SET_SPECIAL_MASK: 0x40, SPECIAL_MASK: 0x20,
} as const; // prettier-ignore
/** Operation command word 2: bits 7 to 5. */
const OCW2 = {
  ROTATE_IN_AUTO_EOI_CLEAR: 0, EOI: 1, SPECIFIC_EOI: 3, ROTATE_IN_AUTO_EOI_SET: 4, ROTATE_ON_EOI: 5, SET_PRIORITY: 6,
  ROTATE_ON_SPECIFIC_EOI: 7,
} as const; // prettier-ignore
/** What a poll answers: bit 7 says that there is an interrupt. */
const POLL_INTERRUPT = 0x80;
const INPUTS = 8;
/** The input of the master that the slave drives. */
export const CASCADE = 2;

/** State of one 8259A as plain data: struct kvm_pic_state. */
export interface I8259State {
  /** Inputs as they were last, for edges. */
  lastIrr: number;
  irr: number;
  imr: number;
  isr: number;
  /** Input of the highest priority. */
  priorityAdd: number;
  irqBase: number;
  readRegSelect: number;
  poll: boolean;
  specialMask: boolean;
  /** Which ICW is expected next: 0 when initialized. */
  initState: number;
  autoEoi: boolean;
  rotateOnAutoEoi: boolean;
  specialFullyNestedMode: boolean;
  needsIcw4: boolean;
  /** Edge/level control: a bit is set for a level-triggered input. */
  elcr: number;
}

const RESET: I8259State = {
  lastIrr: 0, irr: 0, imr: 0, isr: 0, priorityAdd: 0, irqBase: 0, readRegSelect: 0, poll: false, specialMask: false,
  initState: 0, autoEoi: false, rotateOnAutoEoi: false, specialFullyNestedMode: false, needsIcw4: false, elcr: 0,
}; // prettier-ignore

/** One 8259A interrupt controller (i8259.c). What the two of a PC do together is in `I8259Pair`. */
export class I8259 {
  #state: I8259State = { ...RESET };

  /**
   * @param isMaster the one that the other cascades into
   * @param elcrMask which inputs may be level-triggered
   * @param acknowledged told of each input whose service ends
   */
  constructor(
    readonly isMaster: boolean,
    readonly elcrMask: number,
    private readonly acknowledged: (input: number) => void,
  ) {}

  reset(): void {
    this.#state = { ...RESET };
  }

  getState(): I8259State {
    return { ...this.#state };
  }

  setState(state: I8259State): void {
    this.#state = { ...state };
  }

  get irqBase(): number {
    return this.#state.irqBase;
  }

  setInput(input: number, level: boolean): void {
    const s = this.#state;
    const bit = 1 << input;
    if ((s.elcr & bit) !== 0) s.irr = level ? s.irr | bit : s.irr & ~bit;
    else if (level && (s.lastIrr & bit) === 0) s.irr |= bit;
    s.lastIrr = level ? s.lastIrr | bit : s.lastIrr & ~bit;
  }

  /** Distance from the highest priority of the first input in the mask; 8 for none. */
  #priority(mask: number): number {
    if (mask === 0) return INPUTS;
    let priority = 0;
    while ((mask & (1 << ((priority + this.#state.priorityAdd) & 7))) === 0) priority += 1;
    return priority;
  }

  /** The input to be served now, or -1 (data sheet, "Fully Nested Mode", "Special Mask Mode"). */
  pending(): number {
    const s = this.#state;
    const requested = this.#priority(s.irr & ~s.imr);
    if (requested === INPUTS) return -1;
    let inService = s.isr;
    if (s.specialMask) inService &= ~s.imr;
    // In special fully nested mode the slave may interrupt its own service.
    if (s.specialFullyNestedMode && this.isMaster) inService &= ~(1 << CASCADE);
    return requested < this.#priority(inService) ? (requested + s.priorityAdd) & 7 : -1;
  }

  /** An INTA cycle for this input. */
  acknowledge(input: number): void {
    const s = this.#state;
    s.isr |= 1 << input;
    if ((s.elcr & (1 << input)) === 0) s.irr &= ~(1 << input);
    if (!s.autoEoi) return;
    if (s.rotateOnAutoEoi) s.priorityAdd = (input + 1) & 7;
    this.#endOfInterrupt(input);
  }

  #endOfInterrupt(input: number): void {
    this.#state.isr &= ~(1 << input);
    this.acknowledged(input);
  }

  writeCommand(value: number): void {
    const s = this.#state;
    if ((value & ICW1.SELECT) !== 0) this.#initialize((value & ICW1.NEEDS_ICW4) !== 0);
    else if ((value & OCW3.SELECT) !== 0) {
      if ((value & OCW3.POLL) !== 0) s.poll = true;
      if ((value & OCW3.READ_REGISTER) !== 0) s.readRegSelect = value & OCW3.READ_ISR;
      if ((value & OCW3.SET_SPECIAL_MASK) !== 0) s.specialMask = (value & OCW3.SPECIAL_MASK) !== 0;
    } else this.#operate(value >> 5, value & 7);
  }

  #initialize(needsIcw4: boolean): void {
    const s = this.#state;
    Object.assign(s, { lastIrr: 0, imr: 0, isr: 0, priorityAdd: 0, specialMask: false, readRegSelect: 0 });
    // Requests by edge are forgotten, levels still stand.
    s.irr &= s.elcr;
    Object.assign(s, { needsIcw4, initState: 1, rotateOnAutoEoi: false });
    if (!needsIcw4) Object.assign(s, { autoEoi: false, specialFullyNestedMode: false });
  }

  #operate(command: number, input: number): void {
    const s = this.#state;
    switch (command) {
      case OCW2.ROTATE_IN_AUTO_EOI_CLEAR:
      case OCW2.ROTATE_IN_AUTO_EOI_SET:
        s.rotateOnAutoEoi = command === OCW2.ROTATE_IN_AUTO_EOI_SET;
        return;
      case OCW2.EOI:
      case OCW2.ROTATE_ON_EOI: {
        const priority = this.#priority(s.isr);
        if (priority === INPUTS) return;
        const highest = (priority + s.priorityAdd) & 7;
        if (command === OCW2.ROTATE_ON_EOI) s.priorityAdd = (highest + 1) & 7;
        this.#endOfInterrupt(highest);
        return;
      }
      case OCW2.SPECIFIC_EOI:
        this.#endOfInterrupt(input);
        return;
      case OCW2.SET_PRIORITY:
        s.priorityAdd = (input + 1) & 7;
        return;
      case OCW2.ROTATE_ON_SPECIFIC_EOI:
        s.priorityAdd = (input + 1) & 7;
        this.#endOfInterrupt(input);
        return;
      default:
      // 2 is no operation.
    }
  }

  writeData(value: number): void {
    const s = this.#state;
    switch (s.initState) {
      case 0:
        s.imr = value;
        return;
      case 1:
        s.irqBase = value & 0xf8;
        s.initState = 2;
        return;
      case 2:
        // ICW3, who cascades into whom, is wired.
        s.initState = s.needsIcw4 ? 3 : 0;
        return;
      default:
        s.specialFullyNestedMode = (value & ICW4.FULLY_NESTED_SPECIAL) !== 0;
        s.autoEoi = (value & ICW4.AUTO_EOI) !== 0;
        s.initState = 0;
    }
  }

  /** A read after a poll command is an INTA cycle (data sheet, "Poll Command"). */
  read(isData: boolean): number {
    const s = this.#state;
    if (s.poll) {
      s.poll = false;
      const input = this.pending();
      if (input === -1) return 0;
      this.acknowledge(input);
      return POLL_INTERRUPT | input;
    }
    if (isData) return s.imr;
    return s.readRegSelect === OCW3.READ_ISR ? s.isr : s.irr;
  }

  get elcr(): number {
    return this.#state.elcr;
  }

  set elcr(value: number) {
    this.#state.elcr = value & this.elcrMask;
  }
}
