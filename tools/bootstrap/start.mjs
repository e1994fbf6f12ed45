// `npm start`: install, build, run the demonstration guest.
import { join } from "path";
import { build, checkNode, install, progress, root, run, script } from "./workspace.mjs";

script(async () => {
  checkNode();
  await install();
  await build();
  progress("running the demonstration guest");
  const command = join(root, "packages", "cli", "bin", "tapvisor.js");
  const { status } = await run(process.execPath, [command, "demo", ...process.argv.slice(2)]);
  return status ?? 1;
});
