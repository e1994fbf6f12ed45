import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The architecture that the suite was configured for, as its config.mak has it. */
export function configuredArch(folder: string): string {
  const path = join(folder, "config.mak");
  const name = existsSync(path) ? /^ARCH_NAME=(.*)$/m.exec(readFileSync(path, "utf8"))?.[1] : undefined;
  return name === "i386" ? "i386" : "x86_64";
}

/** The commit that the suite is at; undefined where its folder is no clone. */
export function suiteCommit(folder: string): string | undefined {
  if (!existsSync(join(folder, ".git"))) return undefined;
  try {
    return execFileSync("git", ["-C", folder, "rev-parse", "HEAD"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return undefined;
  }
}
