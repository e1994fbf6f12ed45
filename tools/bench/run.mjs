// pnpm bench [NAME...]: every bench, or those named; pnpm bench compare COMMIT: against another commit.
// Run it on a quiet machine, after a build.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { compareCommand } from "./compare/command.mjs";
import { Interrupted } from "./compare/processes.mjs";

/** Each prints its own table; loaded when it runs, once there is something built to load. */
const benches = {
  "op-call": async () => (await import("./op-call-bench.mjs")).opCallBench(),
  mips: async () => (await import("./guest-bench.mjs")).mipsBench(),
  guest: async () => (await import("./guest/bench.mjs")).guestBench(),
  exits: async () => (await import("./guest-bench.mjs")).exitsBench(),
};

async function runBenches(asked) {
  const unknown = asked.filter((name) => !Object.hasOwn(benches, name));
  if (unknown.length > 0) {
    throw new Error(`unknown bench ${unknown.join(", ")}; there are: ${Object.keys(benches).join(", ")}, compare`);
  }
  if (!existsSync("packages/cli/dist/index.js")) {
    console.log("bench: building first");
    execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-b"], { stdio: "inherit" });
  }
  for (const [name, run] of Object.entries(benches)) {
    if (asked.length === 0 || asked.includes(name)) await run();
  }
}

/** Of settings that every command here has. */
const settled = (command) => command.exitOverride().configureOutput({ writeErr: () => {} });

const program = settled(new Command("bench"))
  .description("measure op calls, guest execution and exits")
  .argument("[name...]", `benches: ${Object.keys(benches).join(", ")}; all unless told otherwise`)
  .action(runBenches)
  .addCommand(settled(compareCommand((line) => console.log(line))));
try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (!(error instanceof CommanderError && error.exitCode === 0)) {
    const text = error instanceof Error ? error.message : String(error);
    console.error(`bench: ${text.replace(/^error: /, "").split("\n")[0]}`);
    process.exitCode = error instanceof Interrupted ? 130 : 2;
  }
}
