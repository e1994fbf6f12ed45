/** One row of a suite's table: a test image and how to run it. Values are as the table has them. */
export interface SuiteRow {
  readonly name: string;
  readonly file: string;
  readonly smp: number;
  /** Arguments of the image, split as a shell would. */
  readonly testArgs: readonly string[];
  /** Options of QEMU, split as a shell would. */
  readonly vmmParams: readonly string[];
  /** Architectures that it runs on; undefined for all. */
  readonly arch: string | undefined;
  readonly groups: readonly string[];
  /** `path=value` of the host's files that have to hold. */
  readonly checks: readonly string[];
  /** Seconds. */
  readonly timeout: number;
}

/** Seconds that run_tests.sh gives a row that names none. */
const DEFAULT_TIMEOUT = 90;
/** What the table asks the shell for: the wall clock, of which a run here is independent. */
const SUBSTITUTIONS: Readonly<Record<string, string>> = { "date +%s": "1700000000" };

/** A table that cannot be read. */
export class SuiteError extends Error {}

/**
 * Read a `unittests.cfg`: sections in brackets, `key = value` lines, comments, and values in three double quotes that
 * span lines, as scripts/common.bash of the suite reads them.
 */
export function parseSuite(text: string): SuiteRow[] {
  const rows: SuiteRow[] = [];
  let name: string | undefined;
  let keys = new Map<string, string>();
  const finish = () => {
    if (name !== undefined) rows.push(rowOf(name, keys));
    keys = new Map();
  };
  const lines = text.split(/\r?\n/);
  for (let i = 0; i < lines.length; i++) {
    const line = (lines[i] ?? "").trim();
    if (line === "" || line.startsWith("#")) continue;
    const section = /^\[(.*)\]$/.exec(line)?.[1];
    if (section !== undefined) {
      finish();
      name = section;
      continue;
    }
    const [, key = "", first = ""] = /^(\w+)\s*=\s*(.*)$/.exec(line) ?? [];
    if (key === "" || name === undefined) throw new SuiteError(`line ${i + 1} of the table: cannot read "${line}"`);
    let value = first;
    if (value.startsWith('"""')) {
      value = value.slice(3);
      while (!value.trimEnd().endsWith('"""')) {
        i += 1;
        if (i >= lines.length) throw new SuiteError(`[${name}] ${key}: the three quotes are not closed`);
        value = `${value.replace(/\\$/, "")} ${lines[i] ?? ""}`;
      }
      value = value.trimEnd().slice(0, -3);
    }
    keys.set(key, value);
  }
  finish();
  return rows;
}

function rowOf(name: string, keys: ReadonlyMap<string, string>): SuiteRow {
  const text = (key: string) => keys.get(key) ?? "";
  const file = text("file");
  if (file === "") throw new SuiteError(`[${name}]: no file is named`);
  const smp = Number(keys.get("smp") ?? "1");
  if (!Number.isInteger(smp) || smp < 1) throw new SuiteError(`[${name}]: smp is "${text("smp")}": must be a count`);
  const timeout = Number(keys.get("timeout") ?? DEFAULT_TIMEOUT);
  if (!(timeout > 0)) throw new SuiteError(`[${name}]: timeout is "${text("timeout")}": must be seconds`);
  const arch = keys.get("arch");
  return {
    name,
    file,
    smp,
    testArgs: splitWords(text("test_args")),
    // The older name, the present one, and the one for QEMU alone.
    vmmParams: [...splitWords(text("extra_params")), ...splitWords(text("qemu_params"))],
    ...{ arch },
    groups: splitWords(text("groups")),
    checks: splitWords(text("check")),
    timeout,
  };
}

/** Split as a shell does: quotes hold words together, backticks are replaced by what is known of their command. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  const expanded = text.replaceAll(/`([^`]*)`/g, (_, command: string) => {
    const value = SUBSTITUTIONS[command.trim()];
    if (value === undefined) throw new SuiteError(`the table runs "${command}": nothing runs it here`);
    return value;
  });
  for (const character of expanded) {
    if (quote !== "" && character === quote) quote = "";
    else if (quote === "" && (character === '"' || character === "'")) {
      quote = character;
      word ??= "";
    } else if (quote === "" && /\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? "") + character;
  }
  if (quote !== "") throw new SuiteError(`a quote is not closed in: ${text}`);
  if (word !== undefined) words.push(word);
  return words;
}
