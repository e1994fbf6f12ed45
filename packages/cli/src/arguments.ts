import { readFileSync } from "node:fs";
import { BOARD_MODELS } from "@tapvisor/devices";
import { isOpName, OP_NAMES, unknownName, type BoardModel, type OpName } from "@tapvisor/kvm-core";
import { PROFILES } from "@tapvisor/x86-cpu";
import { CPUID, type CpuidFeatureName } from "@tapvisor/x86-isa";
import { UsageError } from "./errors.js";

const UNITS = { "": 1, K: 1 << 10, M: 1 << 20, G: 1 << 30 } as const;
const MIB = 1 << 20;

/** `128M`, `2G`: guest memory in bytes. */
export function parseMemory(text: string): number {
  const match = /^([0-9]+)([KMG]?)$/i.exec(text);
  const bytes = match === null ? Number.NaN : Number(match[1]) * UNITS[(match[2] ?? "").toUpperCase() as "M"];
  if (!Number.isSafeInteger(bytes) || bytes < MIB || bytes > 3 * 1024 * MIB || bytes % MIB !== 0) {
    throw new UsageError(`--memory is "${text}": must be 1M to 3G in whole MiB, as 128M`);
  }
  return bytes;
}

/** A count: decimal digits, with _ between them, or a number as 5e6. */
export function parseCount(option: string, text: string): number {
  const count = /^[0-9][0-9_]*(e[0-9]+)?$/i.test(text) ? Number(text.replaceAll("_", "")) : Number.NaN;
  if (!Number.isSafeInteger(count) || count < 1)
    throw new UsageError(`${option} is "${text}": must be a count from 1 on`);
  return count;
}

/** A number of virtual processors. */
export function parseCpus(text: string): number {
  const cpus = parseCount("--smp", text);
  if (cpus > 64) throw new UsageError(`--smp is "${text}": must be 1 to 64`);
  return cpus;
}

/** Names of ops, separated by commas; all of them where nothing is named. */
export function parseOps(text: string): readonly OpName[] {
  if (text === "") return OP_NAMES;
  return text.split(",").map((name) => {
    if (!isOpName(name)) throw new UsageError(`--trace: ${unknownName("op", name, OP_NAMES)}`);
    return name;
  });
}

/** The board of one of the machines there are, by its name. */
export function parseBoard(text: string): BoardModel {
  const names = BOARD_MODELS.map(({ name }) => name);
  const board = BOARD_MODELS.find(({ name }) => name === text);
  if (board === undefined) throw new UsageError(`--machine: no machine "${text}"; there are: ${names.join(", ")}`);
  return board;
}

/** A processor profile, and in what the guest's processor differs from it. */
export interface CpuChoice {
  readonly profile: string;
  readonly vendor?: string;
  readonly physicalAddressBits?: number;
  /** Features that CPUID does not show. */
  readonly without: readonly CpuidFeatureName[];
}

const VENDORS = ["GenuineIntel", "AuthenticAMD"] as const;
const ADDRESS_BITS = { min: 32, max: 52 } as const;

/** `skylake-server`, or `skylake-server,vendor=AuthenticAMD,phys-bits=36,-pcid` as QEMU has it. */
export function parseCpu(text: string): CpuChoice {
  const [profile = "", ...properties] = text.split(",");
  if (!PROFILES.some(({ name }) => name === profile)) {
    throw new UsageError(`--cpu: no profile "${profile}"; there are: ${PROFILES.map((p) => p.name).join(", ")}`);
  }
  const without: CpuidFeatureName[] = [];
  let choice: Omit<CpuChoice, "without"> = { profile };
  for (const property of properties) {
    const [key = "", value = ""] = property.split("=");
    if (key.startsWith("-")) without.push(parseFeature(key.slice(1)));
    else if (key === "vendor") choice = { ...choice, vendor: parseChoice("--cpu vendor", value, VENDORS) };
    else if (key === "phys-bits") choice = { ...choice, physicalAddressBits: parseAddressBits(value) };
    else throw new UsageError(`--cpu: no property "${key}"; there are: vendor, phys-bits, -FEATURE`);
  }
  return { ...choice, without };
}

/** A feature of CPUID by its name, in small letters and with dashes as QEMU has it. */
function parseFeature(text: string): CpuidFeatureName {
  const name = text.toUpperCase().replaceAll("-", "_");
  if (!isCpuidFeature(name)) throw new UsageError(`--cpu: CPUID has no feature "${text}"`);
  return name;
}

function isCpuidFeature(name: string): name is CpuidFeatureName {
  return Object.hasOwn(CPUID, name);
}

function parseAddressBits(text: string): number {
  const bits = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (!(bits >= ADDRESS_BITS.min && bits <= ADDRESS_BITS.max)) {
    throw new UsageError(`--cpu phys-bits is "${text}": must be ${ADDRESS_BITS.min} to ${ADDRESS_BITS.max}`);
  }
  return bits;
}

/** One of a few words. */
export function parseChoice<T extends string>(option: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found !== undefined) return found;
  throw new UsageError(`${option} is "${text}": must be one of ${choices.join(", ")}`);
}

/** A file that the user named. */
export function readInput(what: string, path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UsageError(`${what} ${path}: ${reasonOf(error)}`);
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EISDIR: "is a directory",
  EACCES: "permission denied",
};

/** Why a file could not be read or written, without the path and system call that Node adds. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  return REASONS[code ?? ""] ?? message ?? String(error);
}
