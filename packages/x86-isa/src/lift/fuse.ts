import { slot, STATE_LAYOUT } from "../state/layout.js";
import type { Uop, UopDefinition } from "../uops/definition.js";
import { packIndex } from "../uops/indexed.js";
import type { UopName } from "../uops/names.js";
import { uopDefinition, uopNamed, uopNumber } from "../uops/table.js";
import type { Listing } from "./liveness.js";
import { fits32 } from "./writer.js";

const RSP = slot("rsp");
const ACCESS_FLAGS_MASK = 0xffff_ffffn << 32n;

const scratch: ReadonlySet<number> = new Set(
  [...STATE_LAYOUT.values()].filter(({ name }) => /^t\d+$/.test(name)).map(({ offset }) => offset),
);

const nameOf = (uop: Uop): string => uopDefinition(uop.op).name;

const row = (name: UopName, fields: Partial<Omit<Uop, "op">>): Uop => ({
  op: uopNumber(name),
  d: 0,
  a: 0,
  b: 0,
  imm: 0n,
  ...fields,
});

function reads(uop: Uop, place: number): boolean {
  const { operands, name }: UopDefinition = uopDefinition(uop.op);
  if (operands.includes("a") && uop.a === place) return true;
  if (operands.includes("b") && uop.b === place) return true;
  // Rows that change their destination in part read it.
  return operands.includes("d") && uop.d === place && !overwrites(name);
}

/** Rows that are known to write `d` without reading it; the others may do either. */
function overwrites(name: string): boolean {
  return /^(movi?|zx\d+h?|sx\d+|lea\d|ripadd|ld\d+)/.test(name) || /^(addi?|subi?)(32|64)nf$/.test(name);
}

/** What two neighbours become, if there is a row for them. `dead` tells whether a scratch slot is not read after them. */
type Rule = (first: Uop, second: Uop, dead: (place: number) => boolean) => Uop | undefined;

/** An address that a load or store can compute itself. */
function addressForm(
  uop: Uop,
): { readonly suffix: string; readonly a: number; readonly displacement: bigint; readonly index: bigint } | undefined {
  const name = nameOf(uop);
  if (name === "zx32") return { suffix: "c", a: uop.a, displacement: 0n, index: 0n };
  if (name === "addi32nf") return { suffix: "c", a: uop.a, displacement: BigInt.asIntN(32, uop.imm), index: 0n };
  const lea = /^lea(\d)(c?)$/.exec(name);
  if (lea === null) return undefined;
  const [, scale, cut = ""] = lea;
  const displacement = cut === "" ? uop.imm : BigInt.asIntN(32, uop.imm);
  if (!fits32(displacement)) return undefined;
  return { suffix: `x${cut}`, a: uop.a, displacement, index: packIndex(uop.b, Math.log2(Number(scale))) };
}

const cutAddress: Rule = (first, second, dead) => {
  if (nameOf(second) !== "zx32" || second.a !== first.d) return undefined;
  if (second.d !== first.d && !dead(first.d)) return undefined;
  const name = nameOf(first);
  if (!/^(lea\d|ripadd)$/.test(name)) return undefined;
  return { ...first, op: uopNumber(uopNamed(`${name}c`)), d: second.d };
};

const addressIntoAccess: Rule = (first, second, dead) => {
  const name = nameOf(second);
  const store = /^st(8|16|32|64)$/.test(name);
  if (!store && !/^ld(8|16|32|64)$/.test(name)) return undefined;
  if (second.a !== first.d || (store && second.b === first.d)) return undefined;
  if (second.d !== first.d && !dead(first.d)) return undefined;
  const form = addressForm(first);
  if (form === undefined) return undefined;
  // A displacement that follows a cut cannot come before it.
  const later = BigInt.asIntN(32, second.imm);
  if (later !== 0n && form.suffix.endsWith("c")) return undefined;
  const displacement = form.displacement + later;
  if (!fits32(displacement)) return undefined;
  const imm = (second.imm & ACCESS_FLAGS_MASK) | form.index | BigInt.asUintN(32, displacement);
  return { ...second, op: uopNumber(uopNamed(name + form.suffix)), a: form.a, imm: BigInt.asIntN(64, imm) };
};

/** Does the micro-operation move the stack pointer by so many bytes? */
const movesStack = (uop: Uop, bits: number, bytes: number): boolean =>
  nameOf(uop) === `addi${bits}nf` && uop.d === RSP && uop.a === RSP && uop.imm === BigInt(bytes);

const push: Rule = (first, second) => {
  for (const bits of [32, 64]) {
    if (nameOf(first) !== (bits === 32 ? "st32c" : "st64") || first.a !== RSP) continue;
    if (BigInt.asIntN(32, first.imm) !== BigInt(-bits / 8) || !movesStack(second, bits, -bits / 8)) continue;
    return row(uopNamed(`push${bits}`), { b: first.b, imm: first.imm & ACCESS_FLAGS_MASK });
  }
  return undefined;
};

const pop: Rule = (first, second) => {
  for (const bits of [32, 64]) {
    if (nameOf(first) !== (bits === 32 ? "ld32c" : "ld64") || first.a !== RSP || first.d === RSP) continue;
    if (BigInt.asIntN(32, first.imm) !== 0n || !movesStack(second, bits, bits / 8)) continue;
    return row(uopNamed(`pop${bits}`), { d: first.d, imm: first.imm & ACCESS_FLAGS_MASK });
  }
  return undefined;
};

const ret32: Rule = (first, second) => {
  if (nameOf(first) !== "pop32" || nameOf(second) !== "jmpi32" || second.a !== first.d) return undefined;
  return scratch.has(first.d) ? row("ret32", { imm: first.imm }) : undefined;
};

/** RET in 64-bit code has its check between the load and the rest. */
function ret64(uops: readonly Uop[]): Uop | undefined {
  const [load, check, move, jump] = uops;
  if (uops.length !== 4 || load === undefined || check === undefined || move === undefined || jump === undefined) {
    return undefined;
  }
  if (nameOf(load) !== "ld64" || load.a !== RSP || BigInt.asIntN(32, load.imm) !== 0n) return undefined;
  if (nameOf(check) !== "canon" || nameOf(jump) !== "jmpi64" || !movesStack(move, 64, 8)) return undefined;
  if (check.a !== load.d || jump.a !== load.d || !scratch.has(load.d)) return undefined;
  return row("ret64", { imm: load.imm & ACCESS_FLAGS_MASK });
}

const RULES: readonly Rule[] = [cutAddress, addressIntoAccess, push, pop, ret32];

/** Conditions as relations of a comparison, by the code without its lowest bit, which inverts. */
const RELATIONS: Readonly<Record<"cmp" | "test", Readonly<Record<number, string>>>> = {
  cmp: { 2: "b", 4: "e", 6: "be", 12: "l", 14: "le" },
  test: { 4: "e", 6: "e", 8: "l", 12: "l", 14: "le" },
};

/** A comparison that is the block's last micro-operation but the branch on it. */
function compareAndBranch(compare: Uop, jump: Uop): Uop | undefined {
  const compared = /^(cmp|test)(i?)(8|32|64)$/.exec(nameOf(compare));
  const jumped = /^jcc(\d+)_(32|64)$/.exec(nameOf(jump));
  if (compared === null || jumped === null) return undefined;
  const [, kind, immediate, size] = compared;
  const code = Number(jumped[1]);
  const relation = RELATIONS[kind as "cmp" | "test"][code & ~1];
  if (relation === undefined || (size === "64" && jumped[2] === "32")) return undefined;
  if (immediate === "i" && BigInt.asIntN(16, compare.imm) !== compare.imm) return undefined;
  const imm = (code & 1) === 0 ? jump.imm : ((jump.imm >> 32n) & 0xffff_ffffn) | (jump.imm << 32n);
  return row(uopNamed(`${kind}${immediate}${size}j${relation}_${jumped[2]}`), {
    a: compare.a,
    b: immediate === "i" ? Number(BigInt.asUintN(16, compare.imm)) : compare.b,
    imm: BigInt.asIntN(64, imm),
  });
}

/** Apply the rules to the micro-operations of one instruction until none fits. */
function fuseInstruction(source: readonly Uop[]): Uop[] {
  const ret = ret64(source);
  if (ret !== undefined) return [ret];
  const out: Uop[] = [];
  source.forEach((next, n) => {
    let uop = next;
    const dead = (place: number): boolean =>
      scratch.has(place) && !source.slice(n + 1).some((later) => reads(later, place));
    for (;;) {
      const previous = out.at(-1);
      let fused: Uop | undefined;
      if (previous !== undefined) for (const rule of RULES) fused ??= rule(previous, uop, dead);
      if (fused === undefined) break;
      out.pop();
      uop = fused;
    }
    out.push(uop);
  });
  return out;
}

/**
 * Make one micro-operation of several where there is a row that does what they do: executing one costs an interpreter
 * more than what it does. Within an instruction, so that faults stay its own; a comparison, which has none, also goes
 * into the branch after it.
 */
export function fuse({ uops, firsts }: Listing): Listing {
  if (firsts.length === 0 || uops.some((uop) => nameOf(uop).startsWith("skip"))) return { uops, firsts };
  const out: Uop[] = [];
  const starts: number[] = [];
  firsts.forEach((first, i) => {
    starts.push(out.length);
    out.push(...fuseInstruction(uops.slice(first, firsts[i + 1] ?? uops.length)));
  });
  const [compare, jump] = [out.at(-2), out.at(-1)];
  const fused = compare !== undefined && jump !== undefined ? compareAndBranch(compare, jump) : undefined;
  if (fused === undefined) return { uops: out, firsts: starts };
  out.splice(-2, 2, fused);
  return { uops: out, firsts: starts.map((start) => Math.min(start, out.length - 1)) };
}
