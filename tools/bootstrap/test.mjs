// `npm test [-- FILES]`: install, build, run all tests or those named.
import { join } from "path";
import { build, checkNode, install, progress, root, run, script } from "./workspace.mjs";

script(async () => {
  checkNode();
  await install();
  await build();
  progress("running the tests");
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  const { status } = await run(process.execPath, [vitest, "run", ...process.argv.slice(2)]);
  return status ?? 1;
});
