import {
  DEFAULT_HOST_OPTIONS,
  unknownName,
  type ArchBackend,
  type Board,
  type FirmwareState,
  type HostPlatform,
  type HostOptions,
  type Interceptor,
  type PlacedDevice,
} from "@tapvisor/kvm-core";
import type { CpuidChoices } from "./guest-cpuid.js";

export type { Board, PlacedDevice };

/** A host, and how many guest instructions its processors have retired. */
export interface MachineHost {
  readonly host: HostPlatform;
  retired(): number;
}

/** A machine as a list of its parts. */
export interface MachineDefinition extends CpuidChoices {
  readonly name: string;
  /** Bytes of guest memory: whole MiB. */
  readonly memorySize: number;
  /** vCPUs, 1 unless told otherwise. */
  readonly cpus?: number;
  /** Makes the host that this machine stands on; asked once. */
  host(): MachineHost;
  /** What differs from the defaults of Linux: kernel and module parameters. */
  readonly hostOptions?: Partial<HostOptions>;
  /** Offered to the core in this order. */
  readonly backends: readonly ArchBackend[];
  /** Name of the backend to take; otherwise the first that supports the host's processor. */
  readonly backend?: string;
  readonly interceptors?: readonly Interceptor[];
  devices?(board: Board): readonly PlacedDevice[];
  /** What an image finds done when it is entered; nothing unless told otherwise. */
  firmware?(board: Pick<Board, "memorySize" | "cpus">): FirmwareState;
}

const MIB = 1 << 20;
/** Beyond it host memory would not hold the guest's: one WebAssembly memory has 4 GiB. */
const MAX_MEMORY = 3 * 1024 * MIB;
const MAX_CPUS = 64;

const MEMBERS = [
  "name", "memorySize", "cpus", "cpuidVendor", "cpuidWithout", "host", "hostOptions", "backends", "backend",
  "interceptors", "devices", "firmware",
] as const satisfies readonly (keyof MachineDefinition)[]; // prettier-ignore

/**
 * Check a machine's definition. The machine itself is made by `createMachine`.
 *
 * @throws TypeError that names the machine, the field, its value and the rule
 */
export function defineMachine(definition: MachineDefinition): MachineDefinition {
  checkMachine(definition);
  return Object.freeze({ ...definition });
}

/** Throws what {@link defineMachine} throws. */
export function checkMachine(definition: MachineDefinition): void {
  const { name, memorySize, cpus = 1, backends } = definition;
  const wrong = (field: string, value: unknown, rule: string) =>
    new TypeError(`machine "${name}": ${field} is ${String(value)}: ${rule}`);
  if (typeof name !== "string" || name === "") throw new TypeError("name of a machine: expected a string, not empty");
  for (const member of Object.keys(definition)) {
    if (MEMBERS.some((known) => known === member)) continue;
    throw new TypeError(`machine "${name}": ${unknownName("member", member, MEMBERS)}`);
  }
  checkHostOptions(name, definition.hostOptions ?? {});
  if (!Number.isSafeInteger(memorySize) || memorySize < MIB || memorySize > MAX_MEMORY || memorySize % MIB !== 0) {
    throw wrong("memorySize", memorySize, `must be 1 MiB to ${MAX_MEMORY / MIB} MiB in whole MiB`);
  }
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > MAX_CPUS) throw wrong("cpus", cpus, `must be 1 to ${MAX_CPUS}`);
  if (!Array.isArray(backends) || backends.length === 0) throw wrong("backends", backends, "must name at least one");
  if (typeof definition.host !== "function") throw wrong("host", definition.host, "must be a function");
}

/** An option that is misspelt, or is not there, has no effect: it is refused. */
function checkHostOptions(machine: string, options: Partial<HostOptions>): void {
  const defaults: Readonly<Record<string, unknown>> = { ...DEFAULT_HOST_OPTIONS };
  for (const [option, value] of Object.entries(options)) {
    if (!Object.hasOwn(defaults, option)) {
      throw new TypeError(`machine "${machine}": ${unknownName("host option", option, Object.keys(defaults))}`);
    }
    const type = typeof defaults[option];
    if (typeof value !== type || (type === "number" && !(Number.isSafeInteger(value) && Number(value) >= 0))) {
      const rule = type === "number" ? "a number of cycles from 0 on" : `a ${type}`;
      throw new TypeError(`machine "${machine}": hostOptions.${option} is ${String(value)}: must be ${rule}`);
    }
  }
}
