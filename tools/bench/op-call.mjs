// What an op call costs: one state of the call table, in this process. Prints one line of JSON.
// usage: node tools/bench/op-call.mjs STATE [ROOT]   (ROOT: the workspace whose packages are measured; this one by default)
import { fileURLToPath } from "node:url";
import { loadCallTable } from "./compare/side-packages.mjs";
import { asBackend, callsARound, loadCallSites } from "./op-call-sites.mjs";

const ROUNDS = 200;
const WARM_UP = 20;
const SAMPLES = 40;

const vm = {};
// Also what pmc_is_enabled takes: a counter, with its vCPU.
const vcpu = { arch: 1, vm, vcpu: { vm } };
const clock = { now: () => 0 };
const root = process.argv[3] ?? fileURLToPath(new URL("../..", import.meta.url));
const { createTable, opNames } = await loadCallTable(root);
const { backend, direct, makeOps, table } = await loadCallSites(opNames);
const callsOfSample = ROUNDS * callsARound(opNames);

function newCore(functions) {
  return createTable(clock, "bench", asBackend(functions));
}

/** An interceptor of every op. */
const onAll = (name, handlers) => ({ name, ops: Object.fromEntries(opNames.map((op) => [op, handlers])) });
const watch = onAll("watch", { observe: () => undefined });

const core = newCore(backend);
const states = {
  untouched: () => undefined,
  "attached and detached": () => core.dispatch.attach(watch).dispose(),
  "attached, called, detached": () => {
    table(core, vcpu, 2);
    const attachment = core.dispatch.attach(watch);
    table(core, vcpu, 2);
    attachment.dispose();
  },
  "second core": () => table(newCore(makeOps()), vcpu, 50),
  "one observer": () => core.dispatch.attach(watch),
  "before and after": () => core.dispatch.attach(onAll("both", { before: () => undefined, after: () => undefined })),
};

const state = process.argv[2];
if (!Object.hasOwn(states, state)) {
  console.error(`op-call: unknown state "${state}"; there are: ${Object.keys(states).join(", ")}`);
  process.exit(2);
}
states[state]();

const sum = { direct: 0, table: 0 };
const best = { direct: Infinity, table: Infinity };
for (let sample = 0; sample < WARM_UP + SAMPLES; sample++) {
  for (const [name, run] of [
    ["direct", () => direct(vcpu, ROUNDS)],
    ["table", () => table(core, vcpu, ROUNDS)],
  ]) {
    const start = process.hrtime.bigint();
    sum[name] = run();
    const ns = Number(process.hrtime.bigint() - start) / callsOfSample;
    if (sample >= WARM_UP) best[name] = Math.min(best[name], ns);
  }
}
// Both ways did the same work, all of it in the backend's functions.
if (sum.direct !== sum.table) {
  throw new Error(`op-call: the calls went astray: ${sum.direct} and ${sum.table}`);
}
console.log(JSON.stringify({ state, direct: best.direct, table: best.table, ratio: best.table / best.direct }));
