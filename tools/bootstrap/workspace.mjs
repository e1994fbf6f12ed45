// What `npm start` and `npm test` share: install when something changed, build, report in single lines.
// Only modules and syntax that an old Node can read are used here, so that it can say that it is too old.
import { spawn } from "child_process";
import { createHash } from "crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "fs";
import { dirname, join } from "path";
import { fileURLToPath } from "url";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** One failure, told in one line. */
export class SetupError extends Error {}

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** Print a progress line. */
export function progress(text) {
  process.stdout.write(`tapvisor: ${text}\n`);
}

/** Run `main` and turn every failure into one line and status 1. */
export async function script(main) {
  try {
    process.exitCode = await main();
  } catch (error) {
    const text = error instanceof SetupError ? error.message : String((error && error.stack) || error);
    process.stderr.write(`tapvisor: ${text}\n`);
    process.exitCode = 1;
  }
}

/** Refuse a Node that is older than `engines` asks for. */
export function checkNode(version = process.versions.node) {
  const needed = manifest.engines.node.replace(/[^0-9.]/g, "");
  const [major, minor] = version.split(".").map(Number);
  const [neededMajor, neededMinor] = needed.split(".").map(Number);
  if (major > neededMajor || (major === neededMajor && minor >= neededMinor)) return;
  throw new SetupError(`Node ${needed} or newer is needed, this is Node ${version}`);
}

/** Run a program; resolves to { status, output }. With `quiet`, its output is kept instead of shown. */
export function run(command, args, { quiet = false, env = {} } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: quiet ? ["ignore", "pipe", "pipe"] : "inherit",
      shell: process.platform === "win32",
    });
    let output = "";
    if (quiet) {
      child.stdout.on("data", (chunk) => (output += chunk));
      child.stderr.on("data", (chunk) => (output += chunk));
    }
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, output }));
  });
}

/** Folders that hold a package of the workspace. */
export function packageFolders() {
  return ["packages", "examples", "tools"].flatMap((parent) => {
    if (!existsSync(join(root, parent))) return [];
    return readdirSync(join(root, parent), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && existsSync(join(root, parent, entry.name, "package.json")))
      .map((entry) => `${parent}/${entry.name}`)
      .sort();
  });
}

/** A digest of all that decides what is installed. */
function dependenciesDigest() {
  const hash = createHash("sha256");
  const files = ["pnpm-lock.yaml", "pnpm-workspace.yaml", "package.json"];
  for (const folder of packageFolders()) files.push(`${folder}/package.json`);
  for (const file of files) hash.update(`${file}\0`).update(readFileSync(join(root, file)));
  return hash.digest("hex");
}

/** The one line of a failed installation that says why. */
export function explainInstallFailure(output) {
  const network =
    /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_PNPM_META_FETCH_FAIL)\b/.exec(output);
  if (network) return `cannot install: the npm registry cannot be reached (${network[1]}); check the network`;
  if (/ERR_PNPM_OUTDATED_LOCKFILE/.test(output)) {
    return "cannot install: pnpm-lock.yaml does not match package.json; run `npx pnpm@10 install` and commit it";
  }
  if (/\bENOSPC\b/.test(output)) return "cannot install: the disk is full";
  if (/\b(EACCES|EROFS|EPERM)\b/.test(output)) return "cannot install: no permission to write here";
  const lines = output.split("\n").filter((line) => line.trim() !== "");
  const telling = lines.find((line) => /ERR_|\berror\b/i.test(line)) ?? lines[lines.length - 1] ?? "no output";
  return `cannot install: ${telling.trim()}`;
}

/** Install the dependencies, unless they are those of the newest successful installation. */
export async function install() {
  const stamp = join(root, "node_modules", ".tapvisor-installed");
  const digest = dependenciesDigest();
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === digest) {
    progress("dependencies are up to date");
    return;
  }
  progress(`installing dependencies with ${manifest.packageManager} (the first time takes a minute) ...`);
  let result;
  try {
    result = await run("npx", ["-y", manifest.packageManager, "install", "--frozen-lockfile"], {
      quiet: true,
      // Without it pnpm asks before it replaces a node_modules that another package manager made.
      // `npm --silent` is for npm's own lines; the reason of a failure has to be heard.
      env: { CI: "true", npm_config_loglevel: "error" },
    });
  } catch (error) {
    throw new SetupError(
      error.code === "ENOENT" ? "npx was not found: npm, which comes with Node, is needed" : String(error),
    );
  }
  if (result.status !== 0) throw new SetupError(explainInstallFailure(result.output));
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, digest);
}

/** Compile what changed. */
export async function build() {
  progress("building ...");
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const { status, output } = await run(process.execPath, [tsc, "-b"], { quiet: true });
  if (status === 0) return;
  process.stderr.write(output);
  const first = output.split("\n").find((line) => line.includes("error")) ?? "tsc gave no reason";
  throw new SetupError(`the build failed: ${first}`);
}
