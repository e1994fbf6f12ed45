/** Recognizes a loop of PAUSE (SDM vol. 3, "Instructions That Cause VM Exits Conditionally", PAUSE). */
export class PauseLoop {
  #first = 0;
  #last = 0;

  /**
   * Note a PAUSE at CPL 0.
   *
   * @param now cycles of the TSC
   * @param gap most cycles between two executions of one loop
   * @param window cycles that a loop may spin
   * @returns whether the loop has spun longer than the window
   */
  spins(now: number, gap: number, window: number): boolean {
    if (now - this.#last > gap) this.#first = now;
    this.#last = now;
    return now - this.#first > window;
  }
}
