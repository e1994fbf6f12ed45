// pnpm bench [NAME...]: every bench, or those named. Run it on a quiet machine, after a build.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";

/** Each prints its own table; loaded when it runs, once there is something built to load. */
const benches = {
  "op-call": async () => (await import("./op-call-bench.mjs")).opCallBench(),
  mips: async () => (await import("./guest-bench.mjs")).mipsBench(),
  guest: async () => (await import("./guest/bench.mjs")).guestBench(),
  exits: async () => (await import("./guest-bench.mjs")).exitsBench(),
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !Object.hasOwn(benches, name));
if (unknown.length > 0) {
  console.error(`bench: unknown bench ${unknown.join(", ")}; there are: ${Object.keys(benches).join(", ")}`);
  process.exit(2);
}
if (!existsSync("packages/cli/dist/index.js")) {
  console.log("bench: building first");
  execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-b"], { stdio: "inherit" });
}
for (const [name, run] of Object.entries(benches)) {
  if (asked.length === 0 || asked.includes(name)) await run();
}
