import { describe, expect, it } from "vitest";
import { defineDevice, type DeviceEnvironment, type IrqLine, type TimerHandle } from "../../src/contract/index.js";

const definition = { name: "latch", size: 2, initialState: () => ({ bytes: [0, 0] }) };

describe("defineDevice refuses", () => {
  const wrong = (part: object) => () => defineDevice({ ...definition, ...part });

  it("a device without a name or bytes", () => {
    expect(wrong({ name: "" })).toThrow(/name of a device/);
    for (const size of [0, -1, 1.5, "2"]) expect(wrong({ size })).toThrow(/"latch": size must be/);
  });

  it("a member that there is not, with what there is and what is near", () => {
    expect(wrong({ stateChnaged: () => {} })).toThrow(
      /device "latch": unknown member "stateChnaged" \(did you mean stateChanged\?\); there are: name, size, initialState, read/,
    );
  });

  it("what is no function where one belongs", () => {
    expect(wrong({ initialState: {} })).toThrow('device "latch": initialState must be a function, got object');
    expect(wrong({ timers: { tick: 5 } })).toThrow('device "latch": timers.tick must be a function, got number');
    expect(wrong({ actions: { poke: "" } })).toThrow('device "latch": actions.poke must be a function, got string');
  });

  it("an action in the place of what every device has", () => {
    expect(wrong({ actions: { reset: () => {} } })).toThrow('device "latch": actions.reset: every device has a reset');
  });
});

const latch = defineDevice<{ bytes: number[] }, { line?: IrqLine }>({
  ...definition,
  read: ({ bytes }, offset, data) => data.set(bytes.slice(offset, offset + data.length)),
  write: ({ bytes }, offset, data, { line }) => {
    data.forEach((byte, i) => (bytes[offset + i] = byte));
    line?.set(bytes[0] !== 0);
  },
  stateChanged: ({ bytes }, { line }) => line?.set(bytes[0] !== 0),
});

describe("a device of a definition", () => {
  it("reads as all ones where it does not say what it reads as", () => {
    const data = new Uint8Array(2);
    defineDevice(definition)().read(0, data);
    expect([...data]).toEqual([0xff, 0xff]);
  });

  it("keeps the state of each device apart, saves it as plain data, and drives the line after a restore", () => {
    let level = false;
    const first = latch({ line: { set: (value) => void (level = value) } });
    const second = latch();
    first.write(0, Uint8Array.of(7));
    const saved = first.saveState();
    first.reset();
    expect([saved, second.saveState(), level]).toEqual([{ bytes: [7, 0] }, { bytes: [0, 0] }, false]);
    first.restoreState(saved);
    saved.bytes[0] = 0;
    const data = new Uint8Array(1);
    first.read(0, data);
    expect([data[0], level]).toEqual([7, true]);
  });

  it("refuses a state that is none of its kind, and keeps its own", () => {
    const device = latch();
    device.write(0, Uint8Array.of(7));
    expect(() => device.restoreState(null as never)).toThrow(
      expect.objectContaining({ code: "EINVAL", message: expect.stringContaining('"latch" has a state') }),
    );
    expect(device.saveState()).toEqual({ bytes: [7, 0] });
  });

  it("without registers has no state, and refuses one", () => {
    const device = defineDevice({ name: "port", size: 1, read: (_state, _offset, data) => void data.fill(0) })();
    expect(device.saveState()).toBe(null);
    device.restoreState(null);
    expect(() => device.restoreState({ bytes: [1] } as never)).toThrow(
      expect.objectContaining({ code: "EINVAL", message: expect.stringContaining('"port" has no state') }),
    );
  });

  it("keeps over a reset what its own reset keeps", () => {
    const scratch = defineDevice({
      name: "scratch",
      size: 2,
      initialState: () => ({ scratch: 0, control: 0 }),
      write: (state, _offset, data) => void ([state.scratch = 0, state.control = 0] = data),
      reset: (state) => void (state.control = 0),
    })();
    scratch.write(0, Uint8Array.of(5, 6));
    scratch.reset();
    expect(scratch.saveState()).toEqual({ scratch: 5, control: 0 });
  });

  it("gives its functions what it was given, and has the actions of its definition", () => {
    const levels: boolean[] = [];
    const bell = defineDevice<{ rung: number }, { line: IrqLine }, never, { ring(times: number): string }>({
      name: "bell",
      size: 1,
      initialState: () => ({ rung: 0 }),
      actions: {
        ring(state, { line }, times) {
          state.rung += times;
          line.set(true);
          return `rung ${state.rung}`;
        },
      },
    })({ line: { set: (level) => void levels.push(level) } });
    expect([bell.ring(2), bell.ring(1), levels, bell.saveState()]).toEqual([
      "rung 2",
      "rung 3",
      [true, true],
      { rung: 3 },
    ]);
  });
});

describe("the timers of a device", () => {
  const alarm = defineDevice<
    { at: number | null; expired: number },
    { environment: Pick<DeviceEnvironment, "timers"> },
    "alarm"
  >({
    name: "alarm",
    size: 1,
    initialState: () => ({ at: null, expired: 0 }),
    write(state, _offset, data, { timers }) {
      state.at = data[0] ?? 0;
      timers.alarm.arm(state.at);
    },
    timers: {
      alarm(state) {
        state.at = null;
        state.expired++;
      },
    },
    stateChanged({ at }, { timers }) {
      if (at === null) timers.alarm.cancel();
      else timers.alarm.arm(at);
    },
  });

  function timers() {
    const made = new Map<string, { deadline: number | undefined; fire: () => void }>();
    const create = (name: string, fire: () => void): TimerHandle => {
      const timer = { deadline: undefined as number | undefined, fire };
      made.set(name, timer);
      return {
        get deadline() {
          return timer.deadline;
        },
        arm: (deadline) => void (timer.deadline = deadline),
        cancel: () => void (timer.deadline = undefined),
      };
    };
    return { made, environment: { timers: { create, next: () => undefined, runDue: () => 0 } } };
  }

  it("are named after it, follow a restored state, and act on the state that is there when they expire", () => {
    const first = alarm(timers());
    first.write(0, Uint8Array.of(9));
    const { made, environment } = timers();
    const second = alarm({ environment });
    second.restoreState(first.saveState());
    expect([...made].map(([name, { deadline }]) => [name, deadline])).toEqual([["alarm alarm", 9]]);
    made.get("alarm alarm")?.fire();
    expect([first.saveState(), second.saveState()]).toEqual([
      { at: 9, expired: 0 },
      { at: null, expired: 1 },
    ]);
    second.reset();
    expect(made.get("alarm alarm")?.deadline).toBe(undefined);
  });

  it("need an environment, which is told with the device's name", () => {
    expect(() => alarm({} as never)).toThrow('device "alarm" has timers, and was made without an environment');
  });
});
