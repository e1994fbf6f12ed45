import { OPS, type OpCall, type OpName } from "@tapvisor/kvm-core";

/** One call as a line: `     1234567 vcpu0 get_msr(msr={index=0x10 data=0x0 hostInitiated=false}) = false`. */
export function formatCall(call: OpCall<OpName>): string {
  const { op, vm, vcpu, time, caller, args, outcome, answeredBy } = call;
  const who = vcpu !== undefined ? `vcpu${vcpu.id}` : vm !== undefined ? `vm${vm.id}` : "core";
  const labels: readonly string[] = OPS[op].args;
  const values: readonly unknown[] = args;
  const list = values
    .map((value, i) => [labels[i] ?? `arg${i}`, value] as const)
    .filter(([, value]) => value !== vcpu && value !== vm)
    .map(([label, value]) => `${label}=${formatValue(value)}`);
  const result =
    outcome === undefined ? "" : outcome.error !== undefined ? ` ! ${String(outcome.error)}` : answer(outcome.result);
  const by = `${caller === "backend" ? " [backend]" : ""}${answeredBy === undefined ? "" : ` [${answeredBy}]`}`;
  return `${String(time).padStart(12)} ${who} ${op}(${list.join(", ")})${result}${by}`;
}

function answer(result: unknown): string {
  return result === undefined ? "" : ` = ${formatValue(result)}`;
}

function formatValue(value: unknown, depth = 0): string {
  switch (typeof value) {
    case "bigint":
      return `0x${value.toString(16)}`;
    case "number":
      return Number.isInteger(value) && value > 9 ? `0x${value.toString(16)}` : String(value);
    case "string":
      return JSON.stringify(value);
    case "object": {
      if (value === null) return "null";
      if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
      if (depth > 0) return "{...}";
      const members = Object.entries(value).filter(([, member]) => typeof member !== "function");
      return `{${members.map(([name, member]) => `${name}=${formatValue(member, depth + 1)}`).join(" ")}}`;
    }
    default:
      return String(value);
  }
}
