import { Command } from "commander";
import { describeOp, isOpName, OP_NAMES, unknownName, type OpName } from "@tapvisor/kvm-core";
import { UsageError } from "../errors.js";
import { createMachine } from "../machine.js";
import { table } from "../table.js";
import type { CommandStreams } from "./run.js";

/** One op as `tapvisor ops --json` has it. */
interface OpRow {
  readonly name: OpName;
  readonly group: string;
  readonly signature: string;
  readonly kind: string;
  /** `real`, `absent`, or `ENOSYS` where the backend has the op but not yet what it does. */
  readonly status: string;
  /** Interceptors that are attached. */
  readonly hooks: readonly string[];
  readonly summary: string;
}

/** `tapvisor ops [NAME]`: the contract as the stock machine's backend fills it. */
export function opsCommand(streams: CommandStreams, finish: (status: number) => void): Command {
  return new Command("ops")
    .description("list the ops of the contract: group, signature, status, hooks attached")
    .argument("[name]", "one op, with all that is said about it")
    .option("--json", "as JSON")
    .action((name: string | undefined, flags: { readonly json?: boolean }) => {
      if (name !== undefined && !isOpName(name)) throw new UsageError(unknownName("op", name, OP_NAMES));
      const rows = opRows().filter((row) => name === undefined || row.name === name);
      streams.output.write(
        new TextEncoder().encode(`${flags.json === true ? asJson(rows, name) : asText(rows, name)}\n`),
      );
      finish(0);
    });
}

function opRows(): OpRow[] {
  const machine = createMachine({ memorySize: 1 << 20 });
  try {
    const { dispatch, backend } = machine.kvm.core;
    return OP_NAMES.map((name) => {
      const { group, kind, summary } = describeOp(name);
      const { binding, attached } = dispatch.status(name);
      const served = backend?.notImplemented?.includes(name) !== true;
      const status = binding !== "bound" ? "absent" : served ? "real" : "ENOSYS";
      return { name, group, signature: signatureOf(name), kind, status, hooks: attached, summary };
    });
  } finally {
    machine.dispose();
  }
}

/** `(vcpu, msr) => "ok" | "refused"`: the names of the arguments, and what the op answers with. */
function signatureOf(name: OpName): string {
  const { args, result } = describeOp(name);
  const answer = typeof result === "string" ? result : result.map((word) => JSON.stringify(word)).join(" | ");
  return `(${args.join(", ")}) => ${answer}`;
}

function asJson(rows: readonly OpRow[], name: string | undefined): string {
  return JSON.stringify(name === undefined ? rows : rows[0], undefined, 2);
}

function asText(rows: readonly OpRow[], name: string | undefined): string {
  const [row] = rows;
  if (name === undefined || row === undefined) {
    return table(
      ["op", "group", "status", "hooks", "signature"],
      rows.map(({ name, group, status, hooks, signature }) => [name, group, status, hooks.length, signature]),
    );
  }
  const { args: _args, result: _result, ...said } = describeOp(row.name);
  const hooks = row.hooks.length === 0 ? "none" : row.hooks.join(", ");
  return Object.entries({ name: row.name, signature: row.signature, status: row.status, hooks, ...said })
    .map(([field, value]) => `${field.padEnd(10)} ${Array.isArray(value) ? value.join(", ") : String(value)}`)
    .join("\n");
}
