import type { IrqLine, Vm } from "@tapvisor/kvm-core";

/**
 * The lines from the devices of a machine to the inputs of its interrupt controllers. Who asks for an input again gets
 * the same line, whose level reaches the controllers only when it changes.
 */
export class BoardLines {
  readonly #vm: Vm;
  readonly #lines = new Map<number, IrqLine>();

  constructor(vm: Vm) {
    this.#vm = vm;
  }

  line(gsi: number): IrqLine {
    const line = this.#lines.get(gsi) ?? this.#connect(gsi);
    this.#lines.set(gsi, line);
    return line;
  }

  #connect(gsi: number): IrqLine {
    let last = false;
    return {
      set: (level) => {
        if (level === last) return;
        last = level;
        this.#vm.irqLine(gsi, level);
      },
    };
  }
}
