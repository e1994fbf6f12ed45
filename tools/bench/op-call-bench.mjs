import { execFileSync } from "node:child_process";

/** The states of a slot, and what a call may cost there: a ratio to the direct call, or nanoseconds. */
const STATES = [
  { state: "untouched", limit: { ratio: 1.1 } },
  { state: "attached and detached", limit: { ns: 3 } },
  { state: "second core", limit: { ns: 3 } },
  // A call site that saw two functions in one slot is never inlined again: this is what a call of the engine costs.
  { state: "attached, called, detached" },
  { state: "one observer" },
  { state: "before and after" },
];

/** Each state in a process of its own: what one does to the compiler's feedback would spoil the next. */
export function opCallBench() {
  console.log("op call, round robin over all ops (best of 40 samples)");
  console.log(row(["state of the slots", "direct ns", "table ns", "ratio", "limit"]));
  for (const { state, limit } of STATES) {
    const script = new URL("op-call.mjs", import.meta.url).pathname;
    const { direct, table, ratio } = JSON.parse(execFileSync(process.execPath, [script, state], { encoding: "utf8" }));
    const within = limit === undefined ? undefined : limit.ns === undefined ? ratio <= limit.ratio : table <= limit.ns;
    const said = limit === undefined ? "" : limit.ns === undefined ? `ratio ${limit.ratio}` : `${limit.ns} ns`;
    console.log(
      row([state, direct.toFixed(2), table.toFixed(2), ratio.toFixed(2), said + (within === false ? " EXCEEDED" : "")]),
    );
    if (within === false) process.exitCode = 1;
  }
}

function row([state, ...numbers]) {
  return state.padEnd(28) + numbers.map((text) => text.padStart(10)).join("");
}
