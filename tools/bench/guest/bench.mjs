import { KERNELS } from "./kernels.mjs";
import { onTapvisor } from "./tapvisor.mjs";
import { onV86 } from "./v86.mjs";

/** The least share of v86's speed that the interpreter must reach, as a geometric mean. */
const LEAST_SHARE = 1 / 4;
/** Rounds of the runners one after another; the middle ratio counts, and the spread tells how noisy the machine was. */
const ROUNDS = 7;
/** Long enough for v86 to compile what is hot, and for V8 to optimize both. */
const WARM_UP_SECONDS = 1;
const SAMPLE_SECONDS = 0.15;

const median = (numbers) => [...numbers].sort((x, y) => x - y)[numbers.length >> 1];
const milliseconds = (seconds) => (seconds * 1e3).toFixed(2);
const row = ([name, ...cells]) => name.padEnd(16) + cells.map((cell) => cell.padStart(11)).join("");

/** Warm a runner up; how many turns a sample of it has. */
async function warmUp(runner) {
  let [spent, seconds] = [0, 0];
  while (spent < WARM_UP_SECONDS) {
    seconds = await runner.measure(1);
    spent += seconds * 2;
  }
  return Math.max(1, Math.round(SAMPLE_SECONDS / seconds));
}

/** Seconds of a turn on each runner, in rounds of one after the other. */
async function interleaved(runners) {
  const turns = [];
  for (const runner of runners) turns.push(await warmUp(runner));
  const samples = runners.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, runner] of runners.entries()) samples[i].push(await runner.measure(turns[i]));
  }
  return samples;
}

async function compare(kernel) {
  const runners = [await onV86(kernel), await onTapvisor(kernel, 32), await onTapvisor(kernel, 64)];
  try {
    const [v86, ours32, ours64] = await interleaved(runners);
    const shares = v86.map((seconds, round) => seconds / ours32[round]);
    return {
      v86: median(v86),
      ours32: median(ours32),
      ours64: median(ours64),
      share: median(shares),
      spread: [Math.min(...shares), Math.max(...shares)],
      wide: median(ours32.map((seconds, round) => seconds / ours64[round])),
    };
  } finally {
    for (const runner of runners) await runner.dispose();
  }
}

/**
 * Guest code on our interpreter and on v86's just-in-time compiler, in one process. The share is v86's time over ours:
 * 1 is as fast as v86. 64-bit code is ours alone; its ratio is to our 32 bits.
 */
export async function guestBench() {
  console.log(`guest execution against v86 (middle of ${ROUNDS} rounds)`);
  console.log(row(["kernel", "v86 ms", "32-bit ms", "share", "spread", "64-bit ms", "64/32"]));
  const shares = [];
  for (const kernel of KERNELS) {
    const result = await compare(kernel).catch((error) => error);
    if (result instanceof Error) {
      console.log(row([kernel.name]) + `FAILED: ${result.message}`);
      process.exitCode = 1;
      continue;
    }
    const { v86, ours32, ours64, share, spread, wide } = result;
    shares.push(share);
    const range = spread.map((end) => end.toFixed(2)).join("-");
    console.log(
      row([
        kernel.name,
        milliseconds(v86),
        milliseconds(ours32),
        share.toFixed(2),
        range,
        milliseconds(ours64),
        wide.toFixed(2),
      ]),
    );
  }
  const mean = Math.exp(shares.reduce((sum, share) => sum + Math.log(share), 0) / shares.length);
  const exceeded = mean < LEAST_SHARE;
  if (exceeded) process.exitCode = 1;
  const limit = `limit ${LEAST_SHARE}${exceeded ? " MISSED" : ""}`;
  console.log(`geometric mean  ${mean.toFixed(3)} of v86's speed, or 1/${(1 / mean).toFixed(2)}  ${limit}`);
}
