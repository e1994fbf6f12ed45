import type { Device } from "@tapvisor/kvm-core/contract";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { KUT_BOARD } from "../src/index.js";
import { environment } from "./support.js";

/** The devices of a board that has them all, and what they do to the world around them. */
function setUp() {
  const time = environment();
  const sent: number[] = [];
  const unmapped: number[] = [];
  const levels = new Map<number, boolean>();
  const inputs: ((bytes: readonly number[]) => void)[] = [];
  const parts = KUT_BOARD.devices(
    {
      environment: time.environment,
      memorySize: 16 << 20,
      cpus: 2,
      irq: (gsi) => ({ set: (level) => void levels.set(gsi, level) }),
      onInput: ({ receive }) => void inputs.push(receive),
      unmapPage: (address) => void unmapped.push(address),
    },
    { write: (bytes) => void sent.push(...bytes) },
  );
  return { ...time, devices: parts.map(({ device }) => device), sent, unmapped, levels, inputs };
}

type Around = ReturnType<typeof setUp>;

interface Access {
  readonly kind: "read" | "write" | "advance" | "input";
  readonly at: number;
  readonly length: number;
  readonly values: readonly number[];
}

/** Offsets in large devices are kept near their start, so that accesses meet. */
const access: fc.Arbitrary<Access> = fc.record({
  kind: fc.constantFrom("read", "write", "write", "read", "advance", "input"),
  at: fc.nat(31),
  length: fc.constantFrom(1, 1, 2, 4),
  values: fc.array(fc.nat(255), { minLength: 4, maxLength: 4 }),
});

/** Do one access to a device, and tell what the device answers. */
function perform(device: Device, around: Around, { kind, at, length, values }: Access): readonly number[] {
  const offset = at % device.size;
  const data = Uint8Array.from(values.slice(0, Math.min(length, device.size - offset)));
  if (kind === "read") device.read(offset, data);
  else if (kind === "write") device.write(offset, data);
  else if (kind === "advance") around.advance((values[0] ?? 0) * 20_000_000);
  else for (const receive of around.inputs) receive(values);
  return [...data];
}

const up = ({ levels }: Around) => [...levels].filter(([, level]) => level).map(([gsi]) => gsi).sort((a, b) => a - b); // prettier-ignore

const copies: readonly (readonly [string, (state: unknown) => unknown])[] = [
  ["JSON", (state) => JSON.parse(JSON.stringify(state)) as unknown],
  ["a structured clone", (state) => structuredClone(state)],
];

const names = setUp().devices.map(({ name }) => name);

describe.each(setUp().devices.map(({ name }, index) => ({ name, index })))("the state of $name", ({ index }) => {
  const rank = (i: number) => (i === index ? 2 : names[i] === "pc-testdev irq-line" ? 0 : 1);
  it.each(copies)("goes through %s into a fresh device that answers alike from then on", (_name, copy) => {
    fc.assert(
      fc.property(fc.array(access, { maxLength: 40 }), fc.array(access, { maxLength: 40 }), (before, after) => {
        const first = setUp();
        const second = setUp();
        const one = first.devices[index];
        const other = second.devices[index];
        if (one === undefined || other === undefined) throw new Error("no such device");
        // Time is the board's, not the device's: both stand at the same.
        for (const step of before) {
          perform(one, first, step);
          if (step.kind === "advance") second.advance((step.values[0] ?? 0) * 20_000_000);
        }
        // The device in question last: the irq-line device drives every line, those of others too.
        const order = [...first.devices.keys()].sort((a, b) => rank(a) - rank(b));
        for (const i of order) second.devices[i]?.restoreState(copy(first.devices[i]?.saveState()));
        expect(up(second)).toEqual(up(first));
        for (const around of [first, second]) around.sent.length = around.unmapped.length = around.stops.length = 0;
        const woken = [first.wakes(), second.wakes()];
        for (const step of after) expect(perform(other, second, step)).toEqual(perform(one, first, step));
        expect(other.saveState()).toEqual(one.saveState());
        expect([up(second), second.sent, second.unmapped, second.stops]).toEqual([
          up(first), first.sent, first.unmapped, first.stops,
        ]); // prettier-ignore
        expect(second.wakes() - (woken[1] ?? 0)).toBe(first.wakes() - (woken[0] ?? 0));
      }),
      { seed: 16550, numRuns: 60 },
    );
  });
});
