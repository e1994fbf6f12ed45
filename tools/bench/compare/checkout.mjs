import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { execute } from "./processes.mjs";

const git = (root, ...args) =>
  execFileSync("git", ["-C", root, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();

/** The full name of a commit; throws where there is none of that name. */
export function resolveCommit(root, name) {
  try {
    return git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", `${name}^{commit}`);
  } catch {
    throw new Error(`there is no commit "${name}" in this repository`);
  }
}

/** Whether the working tree differs from its commit. */
export const isDirty = (root) => git(root, "status", "--porcelain") !== "";

/** Compile a workspace's packages. */
export async function build(root, signal) {
  await execute(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-b"], {
    cwd: root,
    signal,
  });
}

/**
 * A commit's tree in a worktree of its own at `folder`, installed by the pnpm that it names, and built. The store has most
 * of what it needs, and links it.
 */
export async function checkOut(root, commit, folder, signal) {
  git(root, "worktree", "add", "--detach", folder, commit);
  const { packageManager } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const env = { ...process.env, CI: "true" };
  const install = ["-y", packageManager, "install", "--frozen-lockfile", "--prefer-offline"];
  await execute("npx", install, { cwd: folder, env, signal });
  await build(folder, signal);
}

/** Take a worktree away again, however far it got. */
export function removeWorktree(root, folder) {
  try {
    git(root, "worktree", "remove", "--force", "--force", folder);
  } catch {
    // It was not added, or half: its folder goes with the one that it lies in, and git forgets it.
  }
  git(root, "worktree", "prune");
}
