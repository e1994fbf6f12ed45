import { describe, expect, it } from "vitest";
import { decode, liftInstruction, uopDefinition, type CodeMode, type ExtensionControls } from "../src/index.js";

const UD = 6;
const NM = 7;

const INSTRUCTIONS = {
  addps: "0f 58 c1",
  stmxcsr: "0f ae 18",
  cvtpi2ps: "0f 2a c1",
  paddb: "0f fc c1",
  emms: "0f 77",
  fld1: "d9 e8",
  fisttp: "df 08",
  wait: "9b",
  sfence: "0f ae f8",
  prefetcht0: "0f 18 08",
  movnti: "0f c3 08",
  crc32: "f2 0f 38 f1 c1",
  add: "01 c8",
} as const;

const ON: ExtensionControls = { em: false, mp: true, ts: false, osfxsr: true };

/** The vector that an instruction raises at once, whatever its operands. */
function raised(name: keyof typeof INSTRUCTIONS, extensions: ExtensionControls | undefined): number | undefined {
  const mode: CodeMode = {
    bitness: 64,
    stackBytes: 8,
    flat: true,
    virtual8086: false,
    protectedMode: true,
    ...(extensions === undefined ? {} : { extensions }),
  };
  const bytes = Uint8Array.from(INSTRUCTIONS[name].split(" "), (byte) => parseInt(byte, 16));
  const decoded = decode(bytes, 0x1000n, 64);
  if (decoded.kind !== "instruction") throw new Error(`${name} does not decode`);
  const block = liftInstruction(decoded.instruction, mode);
  const [constant, raise] = block.uops;
  if (block.missing !== undefined || constant?.imm !== 1n || raise === undefined) return undefined;
  return uopDefinition(raise.op).name === "raise" ? Number(raise.imm) : undefined;
}

function outcomes(extensions: ExtensionControls | undefined): Record<string, number | undefined> {
  const names = Object.keys(INSTRUCTIONS) as (keyof typeof INSTRUCTIONS)[];
  const found = names.map((name) => [name, raised(name, extensions)] as const);
  return Object.fromEntries(found.filter(([, vector]) => vector !== undefined));
}

describe("what the control registers switch off (SDM vol. 3, tables of #UD and #NM conditions)", () => {
  it("is everything of SSE with CR4.OSFXSR clear, but not what works on MMX registers alone", () => {
    expect(outcomes({ ...ON, osfxsr: false })).toEqual({ addps: UD, stmxcsr: UD, cvtpi2ps: UD });
  });

  it("raises #UD for SSE and MMX and #NM for x87 with CR0.EM set", () => {
    expect(outcomes({ ...ON, em: true })).toEqual({
      addps: UD, stmxcsr: UD, cvtpi2ps: UD, paddb: UD, emms: UD, fld1: NM, fisttp: NM,
    }); // prettier-ignore
  });

  it("raises #NM for all of them with CR0.TS set, and for WAIT if CR0.MP is set too", () => {
    const all = { addps: NM, stmxcsr: NM, cvtpi2ps: NM, paddb: NM, emms: NM, fld1: NM, fisttp: NM };
    expect(outcomes({ ...ON, ts: true })).toEqual({ ...all, wait: NM });
    expect(outcomes({ ...ON, ts: true, mp: false })).toEqual(all);
  });

  it("prefers #UD where both conditions hold", () => {
    expect(raised("addps", { em: false, mp: true, ts: true, osfxsr: false })).toBe(UD);
    expect(raised("paddb", { em: true, mp: true, ts: true, osfxsr: true })).toBe(UD);
  });

  it("is nothing with all of them on, or where the mode says nothing", () => {
    expect(outcomes(ON)).toEqual({});
    expect(outcomes(undefined)).toEqual({});
  });
});
