import { RIGHT } from "./image.mjs";

const NS_PER_S = 1e9;

/** Counts the turns that a guest reports, and when. */
export class Turns {
  #count = 0;
  #last = 0n;
  #wrong = false;

  constructor(name) {
    this.name = name;
  }

  report(byte) {
    if (byte !== RIGHT) this.#wrong = true;
    this.#count++;
    this.#last = process.hrtime.bigint();
  }

  /**
   * Wait for so many turns from now on. Time runs from the first report to the last one, so that turns are whole; the
   * first one begun before the clock did is not counted.
   */
  after(count) {
    const first = this.#count + 1;
    let start;
    let started = 0;
    return {
      reached: () => {
        if (this.#wrong) throw new Error(`${this.name}: the guest says that its result is wrong`);
        if (start === undefined && this.#count >= first) {
          start = this.#last;
          started = this.#count;
        }
        return start !== undefined && this.#count >= started + count;
      },
      seconds: () => Number(this.#last - start) / NS_PER_S / (this.#count - started),
    };
  }
}
