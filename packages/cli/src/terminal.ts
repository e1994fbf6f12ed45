import type { ByteSink } from "@tapvisor/kvm-core";

const CTRL_A = 0x01;

/** Where the serial console is: the process's streams, or a test's. */
export interface TerminalStreams {
  readonly input: NodeJS.ReadableStream & { isTTY?: boolean; setRawMode?(raw: boolean): unknown; unref?(): unknown };
  readonly output: { write(bytes: Uint8Array): unknown };
}

/**
 * The user's terminal as the other end of a serial line. A terminal is put into raw mode, so that every key reaches the
 * guest; Ctrl-A X leaves, Ctrl-A Ctrl-A sends one Ctrl-A.
 */
export class SerialTerminal {
  readonly sink: ByteSink;
  readonly #streams: TerminalStreams;
  readonly #leave = new AbortController();
  #receive: (bytes: readonly number[]) => void = () => {};
  #prefix = false;
  #ended = false;
  #waiting: ((more: boolean) => void)[] = [];

  constructor(streams: TerminalStreams) {
    this.#streams = streams;
    this.sink = { write: (bytes) => void streams.output.write(bytes.slice()) };
  }

  /** Aborted once the user has left. */
  get signal(): AbortSignal {
    return this.#leave.signal;
  }

  /** Hand what is typed to `receive`, until {@link close}. */
  open(receive: (bytes: readonly number[]) => void): void {
    this.#receive = receive;
    const { input } = this.#streams;
    if (input.isTTY === true) input.setRawMode?.(true);
    input.on("data", this.#onData);
    input.on("end", this.#onEnd);
    input.resume();
  }

  close(): void {
    const { input } = this.#streams;
    input.removeListener("data", this.#onData);
    input.removeListener("end", this.#onEnd);
    if (input.isTTY === true) input.setRawMode?.(false);
    input.pause();
    // A pipe that stays open must not keep the process.
    input.unref?.();
    this.#wake(false);
  }

  /** Resolves to true when something was typed, to false when nothing will be. */
  waitForInput(): Promise<boolean> {
    if (this.#ended || this.#leave.signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => void this.#waiting.push(resolve));
  }

  readonly #onData = (chunk: Uint8Array | string): void => {
    const bytes: number[] = [];
    for (const byte of typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk) {
      if (!this.#prefix) {
        if (byte === CTRL_A && this.#streams.input.isTTY === true) this.#prefix = true;
        else bytes.push(byte);
        continue;
      }
      this.#prefix = false;
      if (byte === CTRL_A) bytes.push(byte);
      else if (byte === 0x78 || byte === 0x58) return this.#left();
      else bytes.push(CTRL_A, byte);
    }
    if (bytes.length === 0) return;
    this.#receive(bytes);
    this.#wake(true);
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#wake(false);
  };

  #left(): void {
    this.#leave.abort();
    this.#wake(false);
  }

  #wake(more: boolean): void {
    for (const resolve of this.#waiting.splice(0)) resolve(more);
  }
}
