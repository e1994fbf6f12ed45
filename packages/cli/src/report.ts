import type { DriverStop } from "@tapvisor/kvm-core";
import { debugExitStatus } from "@tapvisor/devices";
import { EXIT_STATUS } from "./errors.js";
import type { Statistics } from "./statistics.js";
import { table } from "./table.js";

/** Why a run ended, as the report names it. */
export type ReportedStop =
  "debug-exit" | "halt" | "shutdown" | "budget" | "internal-error" | "fail-entry" | "host-error";

/** What `--report` writes, as JSON. */
export interface RunReport {
  readonly stop: ReportedStop;
  /** What the guest wrote to the debug-exit port; null for any other stop. */
  readonly value: number | null;
  /** The stop in one line, where its name does not say it all. */
  readonly detail?: string;
  /** Guest instructions retired. */
  readonly instructions: number;
  /** Exits by reason; those to user space as `user:io` and the like. */
  readonly exits: Readonly<Record<string, number>>;
  /** Op calls by op. */
  readonly ops: Readonly<Record<string, number>>;
  /** Instructions that raised #UD because the processor does not have them. */
  readonly missing: Readonly<Record<string, number>>;
}

/** The name under which a stop is reported, and the status that the command ends with. */
export function outcomeOf(stop: DriverStop): {
  readonly stop: ReportedStop;
  readonly value: number | null;
  readonly status: number;
  readonly detail?: string;
} {
  switch (stop.stop) {
    case "debug-exit":
      return { stop: "debug-exit", value: stop.value, status: debugExitStatus(stop.value) };
    case "halt":
      return { stop: "halt", value: null, status: EXIT_STATUS.HALTED };
    case "shutdown":
      return { stop: "shutdown", value: null, status: EXIT_STATUS.HALTED };
    case "reset":
      return { stop: "shutdown", value: null, status: EXIT_STATUS.HALTED, detail: "the guest asked for a reset" };
    case "aborted":
      return { stop: "halt", value: null, status: EXIT_STATUS.HALTED, detail: "left from the terminal" };
    case "budget":
      return { stop: "budget", value: null, status: EXIT_STATUS.BUDGET };
    case "debug":
      return {
        stop: "internal-error",
        value: null,
        status: EXIT_STATUS.HOST_FAILED,
        detail: `vcpu${stop.vcpu} met a breakpoint that nobody set, at 0x${stop.pc.toString(16)}`,
      };
    case "internal-error":
      return {
        stop: "internal-error",
        value: null,
        status: EXIT_STATUS.HOST_FAILED,
        detail: `vcpu${stop.vcpu}: KVM_INTERNAL_ERROR (${stop.suberror})`,
      };
    case "fail-entry":
      return {
        stop: "fail-entry",
        value: null,
        status: EXIT_STATUS.HOST_FAILED,
        detail: `vcpu${stop.vcpu}: the processor refused VM entry, reason 0x${stop.hardwareEntryFailureReason.toString(16)}`,
      };
  }
}

/** What `--stats` prints. `seconds` is the time on the wall. */
export function formatStatistics(instructions: number, seconds: number, statistics: Statistics): string {
  const mips = seconds > 0 ? instructions / seconds / 1e6 : 0;
  const rows = (counts: Readonly<Record<string, number>>) => Object.entries(counts);
  const missing = rows(statistics.missing);
  return [
    `${instructions.toLocaleString("en-US")} guest instructions in ${seconds.toFixed(2)} s, ${mips.toFixed(1)} MIPS`,
    table(["exit", "count"], rows(statistics.exits)),
    table(["op", "calls"], rows(statistics.ops)),
    ...(missing.length === 0 ? [] : [table(["instruction that the processor lacks", "#UD"], missing)]),
  ].join("\n\n");
}
