// What guests cost on the machines of one workspace, in a process of its own. Messages tell it what to do next, and it
// answers each: { guest } makes a machine of it and warms up, { sample: true } measures, in nanoseconds of processor time.
// usage: measure-guests.mjs ROOT, with a channel to the process that started it
import { readFileSync } from "node:fs";
import { WRONG } from "../guest/image.mjs";
import { loadMachines } from "./side-packages.mjs";

const machines = await loadMachines(process.argv[2]);
/** The guest that runs now. */
let current;

/** A guest's machine, warmed up; the one before it is gone. */
async function begin({ file, address, memorySize, turn, warmUp, sample }) {
  current?.machine.dispose();
  current = undefined;
  let wrong = false;
  const console = { write: (bytes) => (wrong ||= bytes.includes(WRONG)) };
  const machine = machines.create({ bytes: new Uint8Array(readFileSync(file)), address, memorySize }, console);
  const run = async () => {
    const stop = await machine.run(sample);
    if (stop !== "budget") throw new Error(`the guest ended with ${stop}`);
    if (wrong) throw new Error("the guest says that its result is wrong");
  };
  while (machine.instructions() < warmUp) await run();
  current = { machine, run, turn };
}

/** What a turn of the guest costs now. */
async function measure({ machine, run, turn }) {
  const [from, used] = [machine.instructions(), process.cpuUsage()];
  await run();
  const { user, system } = process.cpuUsage(used);
  return ((user + system) * 1e3 * turn) / (machine.instructions() - from);
}

process.on("message", async ({ guest }) => {
  try {
    process.send(guest === undefined ? { cost: await measure(current) } : await begin(guest).then(() => ({})));
  } catch (error) {
    process.send({ error: error instanceof Error ? error.message : String(error) });
  }
});
