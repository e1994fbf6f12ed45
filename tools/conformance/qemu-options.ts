import type { SuiteRow } from "./suite.js";

/** How one row is run by `tapvisor run`, or why it is not. */
export type RowPlan =
  | { readonly kind: "run"; readonly options: readonly string[] }
  /** The suite itself would not run it on this host. */
  | { readonly kind: "skip"; readonly reason: string }
  /** It asks for something that the machine does not have. */
  | { readonly kind: "unsupported"; readonly reason: string };

const PROFILE = "skylake-server";
const MEMORY_LIMIT_MIB = 3072;

/** Features that QEMU's smallest 64-bit model does not have; of those that a profile may have, and the guest may miss. */
const BEYOND_QEMU64 = [
  "monitor", "pclmulqdq", "ssse3", "fma", "pcid", "sse4-1", "sse4-2", "movbe", "popcnt", "aes", "xsave", "avx", "f16c",
  "rdrand", "fsgsbase", "bmi1", "hle", "avx2", "smep", "bmi2", "erms", "invpcid", "rtm", "rdseed", "adx", "smap",
  "clflushopt", "clwb", "umip", "pku", "rdtscp", "page1gb", "lzcnt", "prefetchw",
]; // prettier-ignore

/** Models of QEMU: what of the profile's features they hide. Those that are not here hide nothing. */
const MODELS: Readonly<Record<string, readonly string[]>> = { qemu64: BEYOND_QEMU64 };
const WHOLE_MODELS: ReadonlySet<string> = new Set(["max", "host", "IvyBridge", "Skylake-Server", "Opteron_G1"]);

/** Properties of a processor that say nothing to this one: what it has is what it shows. */
const IGNORED_CPU_PROPERTIES: ReadonlySet<string> = new Set([
  "host-phys-bits", "migratable", "hv_passthrough", "kvm", "l3-cache",
]); // prettier-ignore

/** Names of features that differ from those in Intel's manual. */
const FEATURE_NAMES: Readonly<Record<string, string>> = { pdpe1gb: "page1gb", cx16: "cmpxchg16b", abm: "lzcnt" };

/** Features that can be hidden: those of the command's table. The rest of QEMU's names is of things that are not there. */
export const HIDEABLE: ReadonlySet<string> = new Set([...BEYOND_QEMU64, "x2apic", "tsc-deadline"]);

/** Options of QEMU that change nothing for a guest here, and how many words follow them. */
const IGNORED_OPTIONS: Readonly<Record<string, number>> = {
  "-enable-kvm": 0, "-overcommit": 1, "-display": 1, "-nodefaults": 0, "-no-reboot": 0,
}; // prettier-ignore

/** Properties of `-machine` that change nothing for a guest here. */
const IGNORED_MACHINE_PROPERTIES = /^(accel=kvm|pit=(on|off)|vmport=(on|off)|smm=(on|off))$/;

/** What the suite may ask of the host's files before it runs a row: what a KVM of this kind would show there. */
const HOST_FILES: Readonly<Record<string, string>> = {
  "/sys/module/kvm/parameters/enable_pmu": "Y",
  "/sys/module/kvm/parameters/ignore_msrs": "N",
  "/sys/module/kvm/parameters/enable_vmware_backdoor": "N",
  // A narrower address is the processor's own here, and needs no help of the hypervisor.
  "/sys/module/kvm_intel/parameters/allow_smaller_maxphyaddr": "Y",
  "/proc/sys/kernel/nmi_watchdog": "0",
  "/sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
};

/** Translate a row of the suite, which is written for QEMU, into options of `tapvisor run`. */
export function planRow(row: SuiteRow, arch: string): RowPlan {
  if (row.arch !== undefined && row.arch !== arch) return { kind: "skip", reason: `${row.arch} only` };
  for (const check of row.checks) {
    const at = check.indexOf("=");
    if (HOST_FILES[check.slice(0, at)] !== check.slice(at + 1)) {
      return { kind: "skip", reason: `${check} does not hold` };
    }
  }
  const options = ["--machine", "kut", "--smp", String(row.smp)];
  let cpu = "max";
  const args = [...row.testArgs];
  const params = [...row.vmmParams];
  const unsupported = (reason: string): RowPlan => ({ kind: "unsupported", reason });
  for (let param = params.shift(); param !== undefined; param = params.shift()) {
    const ignored = IGNORED_OPTIONS[param];
    if (ignored !== undefined) {
      params.splice(0, ignored);
      continue;
    }
    const value = params.shift();
    if (value === undefined) return unsupported(`${param} without a value`);
    switch (param) {
      case "-cpu":
        cpu = value;
        break;
      case "-append":
        args.push(...value.split(/\s+/));
        break;
      case "-m": {
        const mib = /^[0-9]+$/.test(value) ? Number(value) : /^[0-9]+[gG]$/.test(value) ? parseInt(value) * 1024 : NaN;
        if (!(mib <= MEMORY_LIMIT_MIB)) return unsupported(`-m ${value}: memory beyond ${MEMORY_LIMIT_MIB} MiB`);
        options.push("--memory", `${mib}M`);
        break;
      }
      case "-machine":
      case "-M": {
        const other = value.split(",").find((property) => !IGNORED_MACHINE_PROPERTIES.test(property));
        if (other !== undefined) return unsupported(`${param} ${other}`);
        break;
      }
      default:
        return unsupported(`${param} ${value}`);
    }
  }
  const translated = translateCpu(cpu);
  if (translated.startsWith("no ")) return unsupported(`-cpu: ${translated}`);
  options.push("--cpu", translated);
  if (args.length > 0) options.push("--append", args.join(" "));
  return { kind: "run", options };
}

/** `-cpu` of QEMU as `--cpu` of the command; what it cannot say begins with "no ". */
function translateCpu(text: string): string {
  const [model = "", ...properties] = text.split(",");
  const hidden = new Set(MODELS[model]);
  if (MODELS[model] === undefined && !WHOLE_MODELS.has(model)) return `no model ${model}`;
  const rest: string[] = [];
  for (const property of properties) {
    const [key = "", value] = property.split("=");
    const name = FEATURE_NAMES[key.slice(1)] ?? key.slice(1);
    // A feature that is asked for shows if the processor has it; QEMU warns where it has not.
    if (key.startsWith("+")) hidden.delete(name);
    else if (key.startsWith("-")) hidden.add(name);
    else if (key === "vendor" || key === "phys-bits") rest.push(`${key}=${value ?? ""}`);
    else if (!IGNORED_CPU_PROPERTIES.has(key)) return `no property ${key}`;
  }
  return [PROFILE, ...rest, ...[...hidden].filter((name) => HIDEABLE.has(name)).map((name) => `-${name}`)].join(",");
}
