// What an op call costs: one state of the call table, in this process. Prints one line of JSON.
// usage: node tools/bench/op-call.mjs STATE
import { OP_NAMES } from "../../packages/kvm-core/dist/contract/index.js";
import { OpDispatch } from "../../packages/kvm-core/dist/dispatch/dispatch.js";
import { asBackend, CALLS_A_ROUND, loadCallSites } from "./op-call-sites.mjs";

const ROUNDS = 200;
const WARM_UP = 20;
const SAMPLES = 40;

const vm = {};
// Also what pmc_is_enabled takes: a counter, with its vCPU.
const vcpu = { arch: 1, vm, vcpu: { vm } };
const clock = { now: () => 0 };
const { backend, direct, makeOps, table } = await loadCallSites();

function newCore(functions) {
  const dispatch = new OpDispatch(clock);
  dispatch.bind("bench", asBackend(functions));
  return { dispatch, ops: dispatch.coreCalls };
}

/** An interceptor of every op. */
const onAll = (name, handlers) => ({ name, ops: Object.fromEntries(OP_NAMES.map((op) => [op, handlers])) });
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
    const ns = Number(process.hrtime.bigint() - start) / (ROUNDS * CALLS_A_ROUND);
    if (sample >= WARM_UP) best[name] = Math.min(best[name], ns);
  }
}
// Both ways did the same work, all of it in the backend's functions.
if (sum.direct !== sum.table) {
  throw new Error(`op-call: the calls went astray: ${sum.direct} and ${sum.table}`);
}
console.log(JSON.stringify({ state, direct: best.direct, table: best.table, ratio: best.table / best.direct }));
