import { DR7_ENABLES, slot, type CpuState } from "@tapvisor/x86-isa";

const SLOT_DR0 = slot("dr0");
const SLOT_DR7 = slot("dr7");

const ENABLES = Number(DR7_ENABLES);

/** R/W field of DR7 (SDM vol. 3, "Debug Control Register (DR7)"). */
const KIND = { EXECUTE: 0, WRITE: 1, IO: 2, READ_WRITE: 3 } as const;
/** LEN field of DR7 to bytes. */
const LENGTHS = [1, 2, 8, 4] as const;

/** The breakpoints of DR0-DR3. A result is the set of bits B0-B3 of DR6 that match. */
export class Breakpoints {
  constructor(private readonly state: CpuState) {}

  get enabled(): boolean {
    return (this.state.get32(SLOT_DR7) & ENABLES) !== 0;
  }

  /** Instruction breakpoints at a linear address. */
  onExecute(linear: bigint): number {
    return this.#match((kind, base) => kind === KIND.EXECUTE && base === linear);
  }

  /** Data breakpoints that an access touches. */
  onData(linear: bigint, size: number, write: boolean): number {
    return this.#match((kind, base, length) => {
      if (kind !== KIND.READ_WRITE && !(write && kind === KIND.WRITE)) return false;
      const start = base & ~BigInt(length - 1);
      return linear < start + BigInt(length) && start < linear + BigInt(size);
    });
  }

  #match(matches: (kind: number, base: bigint, length: number) => boolean): number {
    const dr7 = this.state.get32(SLOT_DR7);
    let hit = 0;
    for (let n = 0; n < 4; n++) {
      if (((dr7 >>> (n * 2)) & 3) === 0) continue;
      const kind = (dr7 >>> (16 + n * 4)) & 3;
      const length = LENGTHS[(dr7 >>> (18 + n * 4)) & 3] ?? 1;
      if (matches(kind, this.state.get64(SLOT_DR0 + n * 8), length)) hit |= 1 << n;
    }
    return hit;
  }
}
