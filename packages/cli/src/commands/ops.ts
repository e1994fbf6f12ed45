import { Command } from "commander";
import { describeOp, isOpName, OP_NAMES, unknownName, type OpName } from "@tapvisor/kvm-core";
import { UsageError } from "../errors.js";
import { createMachine } from "../machine.js";
import { OP_CALLERS, type OpCallPlace } from "../op-callers.generated.js";
import { table } from "../table.js";
import { UNCALLED_OPS } from "../uncalled-ops.js";
import type { CommandStreams } from "./run.js";

/** One op as `tapvisor ops --json` has it. */
interface OpRow {
  readonly name: OpName;
  readonly group: string;
  readonly signature: string;
  readonly kind: string;
  /**
   * `absent`, `ENOSYS` where the backend has the op but not yet what it does, `not called` where it has all of it and no
   * code calls it, else `real`.
   */
  readonly status: "absent" | "ENOSYS" | "not called" | "real";
  readonly called: CalledFrom;
  /** The functions that call it. */
  readonly callers: readonly OpCallPlace[];
  /** Of an op that no code calls: the capability that will. */
  readonly awaits?: string | undefined;
  /** Interceptors that are attached. */
  readonly hooks: readonly string[];
  readonly summary: string;
}

/** Which side of the call table an op is called from. */
type CalledFrom = "core" | "backend" | "core+backend" | "none";

/** `tapvisor ops [NAME]`: the contract as the stock machine's backend fills it. */
export function opsCommand(streams: CommandStreams, finish: (status: number) => void): Command {
  return new Command("ops")
    .description("list the ops of the contract: group, status, who calls them, hooks attached, signature")
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
      const callers = OP_CALLERS[name];
      const called = calledFrom(callers);
      const status = binding !== "bound" ? "absent" : !served ? "ENOSYS" : called === "none" ? "not called" : "real";
      const awaits = UNCALLED_OPS[name];
      return {
        name,
        group,
        signature: signatureOf(name),
        kind,
        status,
        called,
        callers,
        awaits,
        hooks: attached,
        summary,
      };
    });
  } finally {
    machine.dispose();
  }
}

function calledFrom(callers: readonly OpCallPlace[]): CalledFrom {
  const core = callers.some((place) => place.package === "kvm-core");
  const backend = callers.some((place) => place.package === "arch-vmx");
  if (core && backend) return "core+backend";
  return core ? "core" : backend ? "backend" : "none";
}

/** `(vcpu, info, stage) => "continue" | "intercepted"`, or `(vcpu, msr) => boolean`: the names of the arguments, and what the op answers with. */
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
      ["op", "group", "status", "called from", "hooks", "signature"],
      rows.map((row) => [row.name, row.group, row.status, row.called, row.hooks.length, row.signature]),
    );
  }
  const { args: _args, result: _result, ...said } = describeOp(row.name);
  const hooks = row.hooks.length === 0 ? "none" : row.hooks.join(", ");
  const { signature, status, called, callers, awaits } = row;
  const facts = Object.entries({ name: row.name, signature, status, hooks, ...said, awaits, called });
  return [
    ...facts
      .filter(([, value]) => value !== undefined)
      .map(([field, value]) => line(field, Array.isArray(value) ? value.join(", ") : String(value))),
    ...callers.map((place) => line("", `${place.package}/${place.file} ${place.function}`)),
  ].join("\n");
}

function line(field: string, text: string): string {
  return `${field.padEnd(10)} ${text}`;
}
