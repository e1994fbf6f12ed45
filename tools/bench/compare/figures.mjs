/** Instructions of a warm-up and of a sample; counts, not times, so that both sides do the same. */
const CODE = { warmUp: 40_000_000, sample: 2_000_000 };
const EXITS = {
  CPUID: { warmUp: 300_000, sample: 12_000 },
  "port write": { warmUp: 80_000, sample: 2400 },
  "MMIO write": { warmUp: 30_000, sample: 800 },
  "MMIO read": { warmUp: 30_000, sample: 800 },
};

const code = (id, group = "guests") => ({ id, group, unit: "ns/instruction", run: CODE });
const exits = (id, kind) => ({ id, group: "exits", unit: "ns/exit", run: EXITS[kind], kind });
const slot = (id, state) => ({ id, group: "slots", unit: "ns/call", state });

/**
 * What is compared: all are costs, less is better. `state` is a state of the call table, `kind` a kind of exit; `control`
 * is a figure that the project has no part in, and that tells what the machine itself changed.
 */
export const FIGURES = [
  { id: "direct-call", group: "slots", unit: "ns/call", control: true },
  slot("slot-untouched", "untouched"),
  { id: "slot-over-direct", group: "slots", unit: "direct calls" },
  slot("slot-detached", "attached and detached"),
  slot("slot-second-core", "second core"),
  code("integer", "mips"),
  code("sieve"),
  code("sha256"),
  code("sort"),
  code("matrix"),
  code("calls"),
  code("strings"),
  code("pages"),
  exits("exit-cpuid", "CPUID"),
  exits("exit-port-write", "port write"),
  exits("exit-mmio-write", "MMIO write"),
  exits("exit-mmio-read", "MMIO read"),
];

/** Figures by their own names and by those of groups; all where none is named. */
export function chooseFigures(names) {
  if (names === undefined) return FIGURES;
  const known = new Set(FIGURES.flatMap(({ id, group }) => [id, group]));
  const unknown = names.filter((name) => !known.has(name));
  if (unknown.length > 0) {
    throw new Error(`no figure ${unknown.join(", ")}; there are: ${[...known].join(", ")}`);
  }
  return FIGURES.filter(({ id, group }) => names.includes(id) || names.includes(group));
}
