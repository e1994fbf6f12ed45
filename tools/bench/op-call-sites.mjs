import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** Call sites in one function, about as many as a function of the core has. */
const SITES_A_FUNCTION = 4;
/** Calls of each before the next function's turn. */
const CALLS_A_TURN = 50;

/**
 * Call sites for every op, as a module of their own: `direct` calls the functions themselves, `table` calls the same
 * through a call table, all ops in turn. Written out, because a loop over names would measure the loop. An op does what
 * the least of them do: it reads a field of the vCPU and makes its answer of that and its argument, a few cycles' work.
 * Each call's argument is the last one's answer, so that the sum tells whether all were made, in order.
 */
export async function loadCallSites(opNames) {
  const folder = mkdtempSync(join(tmpdir(), "op-call-"));
  try {
    const file = join(folder, "call-sites.mjs");
    writeFileSync(file, callSites(opNames));
    return await import(pathToFileURL(file).href);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Calls of one `round`. */
export const callsARound = (opNames) => opNames.length * CALLS_A_TURN;

function callSites(opNames) {
  const sites = opNames.map((op, i) => ({ op, fn: `op${i}`, i }));
  const groups = [];
  for (let at = 0; at < sites.length; at += SITES_A_FUNCTION) groups.push(sites.slice(at, at + SITES_A_FUNCTION));
  return `
    export function makeOps() {
      return {
        ${sites.map(({ op, i }) => `"${op}"(vcpu, n) { return (Math.imul(n ^ vcpu.arch, 0x9e3779b1) + ${i}) | 0; },`).join("\n")}
      };
    }
    export const backend = makeOps();
    ${sites.map(({ op, fn }) => `const ${fn} = backend["${op}"];`).join("\n")}
    ${groups
      .map((group, g) =>
        turn(
          `direct${g}`,
          "vcpu",
          group.map(({ fn }) => fn),
        ),
      )
      .join("\n")}
    ${groups
      .map((group, g) =>
        turn(
          `table${g}`,
          "core, vcpu",
          group.map(({ op }) => `core.ops.${op}`),
        ),
      )
      .join("\n")}
    export function direct(vcpu, rounds) {
      let sum = 0;
      for (let r = 0; r < rounds; r++) {
        ${groups.map((_, g) => `sum = direct${g}(vcpu, sum);`).join("\n")}
      }
      return sum;
    }
    export function table(core, vcpu, rounds) {
      let sum = 0;
      for (let r = 0; r < rounds; r++) {
        ${groups.map((_, g) => `sum = table${g}(core, vcpu, sum);`).join("\n")}
      }
      return sum;
    }`;
}

function turn(name, parameters, callees) {
  return `function ${name}(${parameters}, sum) {
    for (let n = 0; n < ${CALLS_A_TURN}; n++) {
      ${callees.map((callee) => `sum = ${callee}(vcpu, sum);`).join("\n")}
    }
    return sum;
  }`;
}

/** Functions under the names of ops, in the shape that a backend gives them. */
export function asBackend(functions) {
  const top = { pmu_ops: {} };
  for (const [op, fn] of Object.entries(functions)) {
    if (op.startsWith("pmu_ops.")) top.pmu_ops[op.slice("pmu_ops.".length)] = fn;
    else top[op] = fn;
  }
  return top;
}
