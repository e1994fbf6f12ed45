import { fileURLToPath } from "node:url";
import { startAnswering } from "./processes.mjs";
import { median } from "./statistics.mjs";

const MEASURE_GUESTS = fileURLToPath(new URL("measure-guests.mjs", import.meta.url));
/** Samples of a guest in a round; each takes some 10 ms. */
const SAMPLES = 25;

/**
 * Measure guests on both sides in step: a process each, of which one works while the other waits, sample by sample. What
 * else the machine does changes within seconds, and a pair of samples lies within some 20 ms.
 */
export async function measureInStep(guests, { sides, order, signal }) {
  const processes = {};
  try {
    for (const side of order) processes[side] = startAnswering(MEASURE_GUESTS, [sides[side]], { signal });
    const results = {};
    for (const guest of guests) results[guest.id] = await measureGuest(guest, processes, order);
    return results;
  } finally {
    for (const one of Object.values(processes)) await one.end();
  }
}

async function measureGuest(guest, processes, order) {
  for (const side of order) {
    const { error } = await processes[side].ask({ guest });
    if (error !== undefined) return { error: `${side}: ${error}` };
  }
  const costs = { before: [], after: [] };
  for (let sample = 0; sample < SAMPLES; sample++) {
    for (const side of sample % 2 === 0 ? order : order.toReversed()) {
      const { cost, error } = await processes[side].ask({ sample: true });
      if (error !== undefined) return { error: `${side}: ${error}` };
      costs[side].push(cost);
    }
  }
  const ratio = median(costs.after.map((cost, i) => cost / costs.before[i]));
  return { before: median(costs.before), after: median(costs.after), ratio };
}
