import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { checkNode, explainInstallFailure, packageFolders, root } from "../workspace.mjs";

describe("what npm start and npm test refuse", () => {
  it("an older Node, naming both versions", () => {
    expect(() => checkNode("18.20.4")).toThrow("Node 20.19 or newer is needed, this is Node 18.20.4");
    expect(() => checkNode("20.18.3")).toThrow("this is Node 20.18.3");
  });

  it("no Node that is new enough", () => {
    for (const version of ["20.19.0", "20.20.2", "22.0.0", "24.1.0"]) expect(() => checkNode(version)).not.toThrow();
  });

  it("an unreachable registry, in one line", () => {
    const output = "npm error code ENOTFOUND\nnpm error network request to https://registry.npmjs.org/pnpm failed\n";
    expect(explainInstallFailure(output)).toBe(
      "cannot install: the npm registry cannot be reached (ENOTFOUND); check the network",
    );
  });

  it("a stale lockfile, with the command that mends it", () => {
    expect(explainInstallFailure("ERR_PNPM_OUTDATED_LOCKFILE  Cannot install")).toMatch(
      /pnpm-lock.yaml does not match/,
    );
  });

  it("anything else, by the line that tells most", () => {
    expect(explainInstallFailure("a\nERR_PNPM_FOO it broke\nb\n")).toBe("cannot install: ERR_PNPM_FOO it broke");
    expect(explainInstallFailure("")).toBe("cannot install: no output");
  });

  it("a failing script, in one line and with status 1", () => {
    const code = `import { script, SetupError } from ${JSON.stringify(`${root}/tools/bootstrap/workspace.mjs`)};
      script(async () => { throw new SetupError("no luck"); });`;
    const result = spawnSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8" });
    expect([result.status, result.stderr]).toEqual([1, "tapvisor: no luck\n"]);
  });
});

it("finds the packages of the workspace, so that a changed dependency is installed", () => {
  expect(packageFolders()).toEqual(expect.arrayContaining(["packages/cli", "packages/kvm-core", "packages/x86-isa"]));
});
