import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunReport } from "tapvisor";
import { planRow } from "./qemu-options.js";
import { judge, type Outcome } from "./result.js";
import type { SuiteRow } from "./suite.js";

/**
 * Instructions that stand for a second of the suite's time-outs. It measures a guest by what it does, not by how fast the
 * computer is that runs it, so that the result is the same everywhere.
 */
export const INSTRUCTIONS_PER_SECOND = 100_000_000;

export interface RowOptions {
  readonly arch: string;
  /** Folder of the images. */
  readonly images: string;
  /** Path of the `tapvisor` command. */
  readonly command: string;
  /** Seconds after which a run that still goes on is given up, whatever it has done. */
  readonly limitSeconds: number;
  /** Options of the command that every row gets. */
  readonly extra: readonly string[];
}

const NOT_RUN = { failures: [], instructions: 0, exits: 0, seconds: 0 } as const;

/** Command line of a row, for a user to repeat it. */
export function commandLine(row: SuiteRow, options: readonly string[], { images, extra }: RowOptions): string[] {
  const budget = Math.round(row.timeout * INSTRUCTIONS_PER_SECOND);
  return ["run", join(images, row.file), ...options, "--max-instructions", String(budget), ...extra];
}

/** Run one row in a process of its own: what it does to the process is its own affair. */
export async function runRow(row: SuiteRow, options: RowOptions): Promise<Outcome> {
  const plan = planRow(row, options.arch);
  if (plan.kind !== "run") return { ...NOT_RUN, result: plan.kind, reason: plan.reason };
  if (!existsSync(join(options.images, row.file))) {
    return { ...NOT_RUN, result: "skip", reason: `${row.file} is not among the images` };
  }
  const folder = mkdtempSync(join(tmpdir(), "tapvisor-conformance-"));
  const report = join(folder, "report.json");
  try {
    const started = process.hrtime.bigint();
    const args = [...commandLine(row, plan.options, options), "--report", report];
    const { output, errors, gaveUp } = await execute(options.command, args, options.limitSeconds);
    const seconds = Number(process.hrtime.bigint() - started) / 1e9;
    if (gaveUp) {
      const reason = `given up after ${options.limitSeconds} s`;
      return { ...NOT_RUN, result: "timeout", reason, seconds, unmeasured: true };
    }
    const read = readReport(report);
    if (read === undefined) return { ...NOT_RUN, result: "crash", reason: lastLine(errors), seconds };
    return judge(read, output, seconds);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function readReport(path: string): RunReport | undefined {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as RunReport;
  } catch {
    return undefined;
  }
}

interface Execution {
  readonly output: string;
  readonly errors: string;
  readonly gaveUp: boolean;
}

function execute(command: string, args: readonly string[], limitSeconds: number): Promise<Execution> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [command, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    let errors = "";
    let gaveUp = false;
    const timer = setTimeout(() => {
      gaveUp = true;
      child.kill("SIGKILL");
    }, limitSeconds * 1000);
    child.stdout.setEncoding("latin1").on("data", (text: string) => void (output += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => void (errors += text));
    child.on("error", reject);
    child.on("close", () => {
      clearTimeout(timer);
      resolve({ output, errors, gaveUp });
    });
  });
}

const lastLine = (text: string): string => text.trim().split("\n").at(-1) ?? "";
