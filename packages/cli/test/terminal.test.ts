import { PassThrough } from "node:stream";
import { beforeEach, describe, expect, it } from "vitest";
import { SerialTerminal, type TerminalStreams } from "../src/terminal.js";

const CTRL_A = "\x01";
let input: PassThrough & { isTTY?: boolean; setRawMode?: (raw: boolean) => void };
let raw: boolean[];
let typed: string;
let terminal: SerialTerminal;

/** Open a terminal, or a pipe in its place. */
function open(isTTY: boolean) {
  input = new PassThrough();
  if (isTTY) input.isTTY = true;
  input.setRawMode = (value) => void raw.push(value);
  const streams: TerminalStreams = { input, output: { write: () => {} } };
  terminal = new SerialTerminal(streams);
  terminal.open((bytes) => void (typed += String.fromCharCode(...bytes)));
}

/** Type, and let the stream deliver it. */
async function type(text: string) {
  input.write(text);
  await new Promise((resolve) => setImmediate(resolve));
}

beforeEach(() => {
  raw = [];
  typed = "";
});

describe("a terminal", () => {
  it("is in raw mode while it is open, and not after", () => {
    open(true);
    expect(raw).toEqual([true]);
    terminal.close();
    expect(raw).toEqual([true, false]);
  });

  it.each(["x", "X"])("is left by Ctrl-A %s, also where the two come apart", async (key) => {
    open(true);
    await type(`ab${CTRL_A}`);
    expect(terminal.signal.aborted).toBe(false);
    await type(key);
    expect(terminal.signal.aborted).toBe(true);
    expect(typed).toBe("ab");
    expect(await terminal.waitForInput()).toBe(false);
  });

  it("sends one Ctrl-A for two, and both keys where the second means nothing", async () => {
    open(true);
    await type(`${CTRL_A}${CTRL_A}x${CTRL_A}b`);
    expect(typed).toBe(`${CTRL_A}x${CTRL_A}b`);
    expect(terminal.signal.aborted).toBe(false);
  });
});

describe("a pipe", () => {
  it("is never put into raw mode, and its Ctrl-A is a byte as others are", async () => {
    open(false);
    await type(`${CTRL_A}x`);
    terminal.close();
    expect([raw, typed, terminal.signal.aborted]).toEqual([[], `${CTRL_A}x`, false]);
  });

  it("wakes who waits for input when some comes, and when it ends", async () => {
    open(false);
    const first = terminal.waitForInput();
    await type("a");
    expect(await first).toBe(true);
    const second = terminal.waitForInput();
    input.end();
    expect(await second).toBe(false);
    expect(await terminal.waitForInput()).toBe(false);
  });
});
