import type { HostTimers, TimerHandle } from "../host/index.js";
import type { Device, DeviceEnvironment } from "./device.js";
import { KvmError } from "./errors.js";
import { unknownName } from "./interceptor.js";

/** State of a device, or null where it has none: plain data that a JSON or structured-clone copy survives. */
export type DeviceState = object | null;

/** What the functions of a definition get besides the state: what the board gave the device, and its timers. */
export type DeviceContext<C extends object, T extends string = never> = C & {
  readonly timers: Readonly<Record<T, TimerHandle>>;
};

/** What a device with timers has to be given. */
export interface TimersContext {
  readonly environment: Pick<DeviceEnvironment, "timers">;
}

/**
 * A kind of device, in terms of its state: saving and restoring it needs no code, as everything that changes is in there.
 *
 * - `S`: the state, null where there is none
 * - `C`: what each device of the kind is given by its board: `environment`, `line`, `sink`, and parts of its own
 * - `T`: names of its timers
 * - `A`: what it can do besides, for the board and the devices about it
 */
export interface DeviceDefinition<
  S extends DeviceState = null,
  C extends object = object,
  T extends string = never,
  A extends object = object,
> {
  /** Name in traces and messages, as the data sheet has it. */
  readonly name: string;
  /** Bytes that it occupies on its bus. */
  readonly size: number;
  /** The state that power-on leaves. Without it the device has no state. */
  initialState?(context: C): S;
  /** Fill `data` from the registers at `offset`. What it leaves alone reads as all ones. */
  read?(state: S, offset: number, data: Uint8Array, context: DeviceContext<C, T>): void;
  write?(state: S, offset: number, data: Uint8Array, context: DeviceContext<C, T>): void;
  /** Change the state as a reset does, where that is other than power-on: a battery, a latch that is not reset. */
  reset?(state: S, context: DeviceContext<C, T>): void;
  /** After a reset or a restore: drive the line as the state says, and set the timers to what it says. */
  stateChanged?(state: S, context: DeviceContext<C, T>): void;
  /** What is done as each timer expires. They are armed by way of the context. */
  readonly timers?: C extends TimersContext
    ? { readonly [N in T]: (state: S, context: DeviceContext<C, T>) => void }
    : never;
  readonly actions?: {
    readonly [N in keyof A]: A[N] extends (...args: infer P) => infer R
      ? (state: S, context: DeviceContext<C, T>, ...args: P) => R
      : never;
  };
}

/** Makes one device of its kind; a machine may have several. */
export type DeviceFactory<S extends DeviceState = null, C extends object = object, A extends object = object> = (
  ...context: object extends C ? [context?: C] : [context: C]
) => Device<S> & A;

const MEMBERS = [
  "name", "size", "initialState", "read", "write", "reset", "stateChanged", "timers", "actions",
] as const; // prettier-ignore
/** What `Device` has: no action can have its name. */
const DEVICE_MEMBERS: readonly string[] = ["name", "size", "read", "write", "saveState", "restoreState", "reset"];

/**
 * Define a kind of device. Its shape is checked here.
 *
 * @throws TypeError that names the device and the member that is wrong
 */
export function defineDevice<
  S extends DeviceState = null,
  C extends object = object,
  T extends string = never,
  A extends object = object,
>(definition: DeviceDefinition<S, C, T, A>): DeviceFactory<S, C, A> {
  checkDefinition(definition);
  return (...[context]) => makeDevice(definition, context ?? ({} as C));
}

/** One device of a kind. Its state is here, and nowhere else. */
function makeDevice<S extends DeviceState, C extends object, T extends string, A extends object>(
  definition: DeviceDefinition<S, C, T, A>,
  given: C,
): Device<S> & A {
  const { name, size } = definition;
  const powerOn = () => definition.initialState?.(given) ?? (null as S);
  let state = powerOn();
  const timers = mapMembers(definition.timers, (timer, fire: Handler) =>
    timersOf(name, given).create(`${name} ${timer}`, () => fire(state, context)),
  ) as DeviceContext<C, T>["timers"];
  const context: DeviceContext<C, T> = { ...given, timers };
  const device: Device<S> = {
    name,
    size,
    read(offset, data) {
      data.fill(0xff);
      definition.read?.(state, offset, data, context);
    },
    write: (offset, data) => definition.write?.(state, offset, data, context),
    saveState: () => structuredClone(state),
    restoreState(saved) {
      checkState(name, definition.initialState !== undefined, saved);
      state = structuredClone(saved);
      definition.stateChanged?.(state, context);
    },
    reset() {
      if (definition.reset === undefined) state = powerOn();
      else definition.reset(state, context);
      definition.stateChanged?.(state, context);
    },
  };
  const actions = mapMembers(
    definition.actions,
    (_name, act: Handler) =>
      (...args: readonly unknown[]) =>
        act(state, context, ...args),
  ) as A;
  return Object.assign(device, actions);
}

/** Node and browsers alike have it; no library of types for both says so. */
const { structuredClone } = globalThis as unknown as { readonly structuredClone: <V>(value: V) => V };

type Handler = (...args: readonly unknown[]) => unknown;

/** The same members with other values. */
function mapMembers<V, R>(members: object | undefined, make: (name: string, value: V) => R): Record<string, R> {
  return Object.fromEntries(
    Object.entries(members ?? {}).map(([name, value]: [string, V]) => [name, make(name, value)]),
  );
}

function timersOf(name: string, context: object): HostTimers {
  const { environment } = context as Partial<TimersContext>;
  if (environment === undefined)
    throw new TypeError(`device "${name}" has timers, and was made without an environment`);
  return environment.timers;
}

function checkState(name: string, hasState: boolean, saved: unknown): void {
  const rule = hasState ? "has a state that is an object" : "has no state";
  const good = hasState ? typeof saved === "object" && saved !== null : saved === null;
  if (!good) throw new KvmError("EINVAL", "restoreState", `device "${name}" ${rule}, got ${String(saved)}`);
}

/** Throws for a member that there is not, and for a value that is not what its member takes. */
function checkDefinition(definition: object): void {
  const { name, size, timers, actions, ...functions } = definition as Partial<DeviceDefinition>;
  if (typeof name !== "string" || name === "") throw new TypeError("name of a device: expected a string, not empty");
  const wrong = (what: string) => new TypeError(`device "${name}": ${what}`);
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size <= 0) {
    throw wrong(`size must be a positive number of bytes, got ${String(size)}`);
  }
  const checkFunctions = (prefix: string, members: object = {}) => {
    for (const [member, value] of Object.entries(members)) {
      if (typeof value !== "function") throw wrong(`${prefix}${member} must be a function, got ${typeof value}`);
    }
  };
  for (const member of Object.keys(definition)) {
    if (!MEMBERS.some((known) => known === member)) throw wrong(unknownName("member", member, MEMBERS));
  }
  checkFunctions("", functions);
  checkFunctions("timers.", timers);
  checkFunctions("actions.", actions);
  const taken = Object.keys(actions ?? {}).find((action) => DEVICE_MEMBERS.includes(action));
  if (taken !== undefined) throw wrong(`actions.${taken}: every device has a ${taken} of its own`);
}
