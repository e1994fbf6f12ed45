import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { file } from "./support/command.js";
import { debugExit, kernel } from "./support/kernels.js";

const bin = fileURLToPath(new URL("../bin/tapvisor.js", import.meta.url));
const built = existsSync(fileURLToPath(new URL("../dist/main.js", import.meta.url)));

function command(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], { encoding: "utf8", input: "" });
  return { status, stdout, stderr };
}

// It runs what is built: npm test builds first.
describe.runIf(built)("the command as a process", () => {
  const image = file(
    "process",
    kernel((a) => debugExit(a, 21)),
  );

  it("ends with the guest's status", () => {
    expect(command("run", image)).toEqual({ status: 43, stdout: "", stderr: "" });
  });

  it("ends with 2 and one line for wrong usage", () => {
    expect(command("run", image, "--bogus")).toEqual({
      status: 2,
      stdout: "",
      stderr: "tapvisor: unknown option '--bogus'\n",
    });
  });

  it("ends with 4 and one line for an error that nobody caught", () => {
    const plugin = file("late.mjs", `Promise.reject(new Error("late")); export default { name: "x", ops: {} };`);
    expect(command("run", image, "--plugin", plugin)).toEqual({
      status: 4,
      stdout: "",
      stderr: "tapvisor: the host failed: Error: late\n",
    });
  });
});
