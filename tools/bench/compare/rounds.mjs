import { fileURLToPath } from "node:url";
import { writeGuests } from "./guests.mjs";
import { measureInStep } from "./lockstep.mjs";
import { execute } from "./processes.mjs";

const OP_CALL = fileURLToPath(new URL("../op-call.mjs", import.meta.url));

/**
 * What a round consists of: each measurement takes the sides in the round's order, and resolves to results by the figure's
 * name. A state of the call table has a process of its own, since what it does to the compiler's feedback stays; so have
 * exits, whose cost is in the code that the machines of guests share.
 */
function measurements(figures, folder) {
  const list = [];
  const wanted = new Set(figures.map(({ id }) => id));
  const states = figures.filter(({ state }) => state !== undefined);
  const untouched = ["direct-call", "slot-over-direct"].some((id) => wanted.has(id));
  if (untouched && !wanted.has("slot-untouched")) states.unshift({ id: "slot-untouched", state: "untouched" });
  for (const { id, state } of states) list.push((context) => measureSlots(id, state, context));
  for (const groups of [["mips", "guests"], ["exits"]]) {
    const chosen = figures.filter(({ group }) => groups.includes(group));
    if (chosen.length === 0) continue;
    const guests = writeGuests(chosen, folder);
    list.push((context) => measureInStep(guests, context));
  }
  return list;
}

/** One state of the call table, each side in a process; the untouched one tells what a direct call costs, too. */
async function measureSlots(id, state, { sides, order, signal }) {
  const costs = {};
  for (const side of order) {
    costs[side] = JSON.parse(await execute(process.execPath, [OP_CALL, state, sides[side]], { signal }));
  }
  const result = (field) => {
    const [before, after] = [costs.before[field], costs.after[field]];
    return { before, after, ratio: after / before };
  };
  const more = { "direct-call": result("direct"), "slot-over-direct": result("ratio") };
  return { [id]: result("table"), ...(state === "untouched" ? more : {}) };
}

/**
 * Measure both sides in rounds, whose order changes from one to the next. `sides` has the workspaces; results are the
 * rounds of each figure by its name.
 */
export async function runRounds({ figures, sides, rounds, folder, signal, progress }) {
  const list = measurements(figures, folder);
  const results = {};
  const errors = new Map();
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? ["before", "after"] : ["after", "before"];
    for (const measure of list) {
      for (const [id, result] of Object.entries(await measure({ sides, order, signal }))) {
        if (result.error === undefined) (results[id] ??= []).push(result);
        else errors.set(id, result.error);
      }
    }
    progress(round + 1);
  }
  return { results, errors };
}
