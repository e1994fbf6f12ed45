import { CommanderError } from "commander";
import { InterceptorError, KvmError } from "@tapvisor/kvm-core";
import { ImageError } from "@tapvisor/sdk";

/** What the user asked for cannot be done as asked: one line, status 2. */
export class UsageError extends Error {}

/** Exit statuses of the command, beside `(value << 1) | 1` of the debug-exit device. */
export const EXIT_STATUS = {
  /** The guest powered off, or halted for good. */
  HALTED: 0,
  /** Wrong usage or input. */
  USAGE: 2,
  /** The host failed. */
  HOST_FAILED: 4,
  /** A budget ran out. */
  BUDGET: 5,
} as const;

/** The status and the one line for an error that ended the command. */
export function explain(error: unknown): { readonly status: number; readonly line: string } {
  if (error instanceof CommanderError) return { status: EXIT_STATUS.USAGE, line: firstLine(error.message) };
  if (error instanceof UsageError || error instanceof ImageError) {
    return { status: EXIT_STATUS.USAGE, line: firstLine(error.message) };
  }
  if (error instanceof InterceptorError && error.code !== "ERR_INTERCEPTOR_THREW") {
    return { status: EXIT_STATUS.USAGE, line: firstLine(error.message) };
  }
  if (error instanceof KvmError) return { status: EXIT_STATUS.HOST_FAILED, line: firstLine(error.message) };
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return { status: EXIT_STATUS.HOST_FAILED, line: `the host failed: ${firstLine(text)}` };
}

function firstLine(text: string): string {
  return text.replace(/^error: /, "").split("\n")[0] ?? "";
}
