import { spawn } from "node:child_process";

/** Ended from outside: by Ctrl-C or a signal. */
export class Interrupted extends Error {
  constructor(signalName) {
    super(`ended by ${signalName}`);
    this.signalName = signalName;
  }
}

/**
 * Start a program as the leader of a process group of its own, which ends as a whole when `signal` aborts: what is cleaned
 * up afterwards is used by nobody then.
 */
function start(command, args, { cwd, env, signal, stdio }) {
  signal.throwIfAborted();
  const child = spawn(command, args, { cwd, env, detached: true, stdio });
  const kill = () => {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // The group has ended already.
    }
  };
  signal.addEventListener("abort", kill);
  child.on("close", () => signal.removeEventListener("abort", kill));
  return child;
}

/**
 * Run a program to its end, and resolve to what it printed.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, signal: AbortSignal }} options
 * @returns {Promise<string>}
 */
export function execute(command, args, { cwd, env, signal }) {
  return new Promise((resolve, reject) => {
    const child = start(command, args, { cwd, env, signal, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    let errors = "";
    child.stdout.setEncoding("utf8").on("data", (text) => void (output += text));
    child.stderr.setEncoding("utf8").on("data", (text) => void (errors += text));
    child.on("error", reject);
    child.on("close", (status) => {
      if (signal.aborted) reject(signal.reason);
      else if (status === 0) resolve(output);
      else reject(new Error(firstTelling(`${errors}\n${output}`) ?? `${command} ended with status ${status}`));
    });
  });
}

/** A script in a process of its own that answers each message with one. */
export function startAnswering(script, args, { signal }) {
  const child = start(process.execPath, [script, ...args], { signal, stdio: ["ignore", "ignore", "pipe", "ipc"] });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text) => void (errors += text));
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const failure = ended.then((status) => {
    throw signal.aborted ? signal.reason : new Error(firstTelling(errors) ?? `${script} ended with status ${status}`);
  });
  // Whoever asks gets to hear of it; that it ends when nobody does is no failure.
  failure.catch(() => {});
  return {
    ask(message) {
      const answer = new Promise((resolve) => child.once("message", resolve));
      child.send(message);
      return Promise.race([answer, failure]);
    },
    async end() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** The line of a failed program's output that says why. */
function firstTelling(text) {
  const lines = text.split("\n").map((line) => line.trim());
  return lines.find((line) => /error\b|ERR_/i.test(line)) ?? lines.find((line) => line !== "");
}

/** A signal that aborts when this process is told to end, until it is disposed of. */
export function interruption() {
  const controller = new AbortController();
  const names = ["SIGINT", "SIGTERM", "SIGHUP"];
  const interrupt = (name) => controller.abort(new Interrupted(name));
  for (const name of names) process.on(name, interrupt);
  return { signal: controller.signal, dispose: () => names.forEach((name) => process.off(name, interrupt)) };
}
