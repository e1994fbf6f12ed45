// Pack every package as npm would publish it, and check the packed files with publint and attw.
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);
const version = /-[0-9]+[.][0-9]+[.][0-9]+[^/]*[.]tgz$/;
/** What attw reports by mistake. */
const attwIgnores = {
  // It does not follow the package's import map to another package: #iced-x86 is iced-x86 there.
  "tapvisor-x86-isa": ["--ignore-rules", "internal-resolution-error"],
};
const { packageManager } = JSON.parse(readFileSync("package.json", "utf8"));
const folder = mkdtempSync(join(tmpdir(), "tapvisor-pack-"));
let failures = 0;
let checked = 0;
try {
  const names = readdirSync("packages").filter((name) => existsSync(`packages/${name}/package.json`));
  await execute("npx", ["-y", packageManager, "-r", "--filter=./packages/*", "pack", "--pack-destination", folder]);
  const tarballs = readdirSync(folder).filter((file) => file.endsWith(".tgz"));
  for (const tarball of tarballs) {
    const path = join(folder, tarball);
    for (const [tool, args] of [
      ["publint", ["run", path, "--strict"]],
      [
        "attw",
        [path, "--profile", "esm-only", "--format", "ascii", ...(attwIgnores[tarball.replace(version, "")] ?? [])],
      ],
    ]) {
      try {
        await execute(join("node_modules", ".bin", tool), args);
      } catch (error) {
        failures++;
        console.error(`${tool} ${tarball}:\n${error.stdout}${error.stderr}`);
      }
    }
    checked++;
  }
  if (checked !== names.length) {
    failures++;
    console.error(`packages: ${names.length} packages, but ${checked} packed`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`packages: ${checked} packed and checked, ${failures} failures`);
process.exitCode = failures === 0 && checked > 0 ? 0 : 1;
