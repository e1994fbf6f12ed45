import { codeInfo, type DecodeResult } from "../decode/decode.js";
import { Mnemonic } from "../decode/iced.js";
import type { DecodedInstruction } from "../decode/instruction.js";
import { systemHandlerId } from "../system/handlers.js";
import type { Uop } from "../uops/definition.js";
import { uopDefinition } from "../uops/table.js";
import { Builder } from "./builder.js";
import { fuse } from "./fuse.js";
import { dropDeadFlags } from "./liveness.js";
import type { CodeMode } from "./mode.js";
import { lifterOf } from "./table.js";

const UD = 6;
const NM = 7;
const GP = 13;

export interface LiftedInstruction {
  readonly instruction: DecodedInstruction;
  /** Bytes from the start of the block. */
  readonly offset: number;
  /** Index of its first micro-operation. It may have none, and then shares the index with what follows. */
  readonly first: number;
}

/**
 * A straight run of instructions as micro-operations. The last micro-operation ends the block; it is position
 * independent: addresses in the code segment are relative to state field `rip`, that of the first instruction.
 */
export interface LiftedBlock {
  readonly mode: CodeMode;
  /** Offset of the first instruction in its code segment. */
  readonly ip: bigint;
  /** Bytes of all instructions. */
  readonly length: number;
  /**
   * At least one, except for a block that only raises: then the fetched bytes are no instruction, and the exception is
   * that of an instruction at `ip`.
   */
  readonly instructions: readonly LiftedInstruction[];
  readonly uops: readonly Uop[];
  /** In the manual's notation, an instruction of the block that raises #UD because it has not been written. */
  readonly missing: string | undefined;
  /** Its only instruction is a system instruction. */
  readonly system: boolean;
}

/** Longest block in instructions. */
export const MAX_BLOCK_INSTRUCTIONS = 64;

/** The constant of a `sys` micro-operation: handler, the instruction's offset in the block, its length. */
export function packSystem(handler: number, offset: number, length: number): bigint {
  return BigInt(handler) | (BigInt(offset) << 16n) | (BigInt(length) << 32n);
}

export function unpackSystem(imm: bigint): { handler: number; offset: number; length: number } {
  return {
    handler: Number(imm & 0xffffn),
    offset: Number((imm >> 16n) & 0xffffn),
    length: Number((imm >> 32n) & 0xffn),
  };
}

/** Without their feature these encodings are older instructions: the prefix F3 is ignored. */
const OLDER: ReadonlyMap<number, number> = new Map([
  [Mnemonic.Tzcnt, Mnemonic.Bsf],
  [Mnemonic.Lzcnt, Mnemonic.Bsr],
]);

/** Mnemonics that are a NOP on a processor without the feature (SDM vol. 2, "PREFETCHh", "PREFETCHW", "ENDBR64"). */
const NOP_WITHOUT_FEATURE: ReadonlySet<number> = new Set([
  Mnemonic.Prefetch,
  Mnemonic.Prefetchw,
  Mnemonic.Prefetchwt1,
  Mnemonic.Prefetchnta,
  Mnemonic.Prefetcht0,
  Mnemonic.Prefetcht1,
  Mnemonic.Prefetcht2,
  Mnemonic.Endbr32,
  Mnemonic.Endbr64,
  Mnemonic.Rdsspd,
  Mnemonic.Rdsspq,
  Mnemonic.Pause,
  Mnemonic.Cldemote,
  Mnemonic.Prefetchit0,
  Mnemonic.Prefetchit1,
]);

/**
 * SSE and SSE2 count them as theirs, but they touch no register of theirs, and kernels that are built without SSE order
 * their accesses with them: every processor with Intel 64 has them.
 */
const FENCES: ReadonlySet<number> = new Set([Mnemonic.Lfence, Mnemonic.Mfence, Mnemonic.Sfence]);

/** In virtual-8086 mode PUSHF depends on IOPL, elsewhere it is a plain push. */
const PUSH_FLAGS: ReadonlySet<number> = new Set([Mnemonic.Pushf, Mnemonic.Pushfd, Mnemonic.Pushfq]);

function handlerOf(mode: CodeMode, i: DecodedInstruction): number | undefined {
  if (PUSH_FLAGS.has(i.mnemonic) && !mode.virtual8086) return undefined;
  return systemHandlerId(i);
}

function available(mode: CodeMode, i: DecodedInstruction): boolean {
  if (FENCES.has(i.mnemonic)) return true;
  return mode.feature === undefined || codeInfo(i.code).features.every(mode.feature);
}

/** The exception that an instruction of the x87, MMX or SSE raises because it is switched off. */
function switchedOff({ extensions }: CodeMode, i: DecodedInstruction): number | undefined {
  if (extensions === undefined) return undefined;
  const { em, mp, ts, osfxsr } = extensions;
  if (i.mnemonic === Mnemonic.Wait) return mp && ts ? NM : undefined;
  const { extension } = codeInfo(i.code);
  if (extension === undefined) return undefined;
  if (extension === "x87") return em || ts ? NM : undefined;
  if (em || (extension !== "mmx" && !osfxsr)) return UD;
  return ts ? NM : undefined;
}

/** How an instruction leaves its block: open, ended, ended by an exception; or it is not there to be written. */
type Outcome = "next" | "ends" | "raises" | "missing";

/** Write one instruction. */
function lift(b: Builder, i: DecodedInstruction): Outcome {
  b.begin(i);
  let mnemonic = i.mnemonic;
  if (!available(b.mode, i)) {
    if (NOP_WITHOUT_FEATURE.has(mnemonic)) return "next";
    const older = OLDER.get(mnemonic);
    if (older === undefined) {
      b.raiseIf(1n, UD);
      return "missing";
    }
    mnemonic = older;
  }
  const off = switchedOff(b.mode, i);
  if (off !== undefined) {
    b.raiseIf(1n, off);
    return "raises";
  }
  const handler = handlerOf(b.mode, i);
  if (handler !== undefined) {
    b.emit("sys", { imm: packSystem(handler, Number(i.ip - b.blockIp), i.length) });
    return "ends";
  }
  const lifter = lifterOf(i.code, mnemonic);
  if (lifter === undefined) {
    b.raiseIf(1n, UD);
    return "missing";
  }
  const before = b.uops.length;
  lifter(b, i);
  const last = b.uops.length > before ? b.uops.at(-1) : undefined;
  return last !== undefined && uopDefinition(last.op).ends === true ? "ends" : "next";
}

/** A repeated string instruction may be interrupted between elements, so it is a block of its own. */
function standsAlone(i: DecodedInstruction): boolean {
  return (i.rep || i.repne) && i.operands.some((operand) => operand.kind === "memory" && operand.index === 0);
}

function finish(b: Builder, instructions: LiftedInstruction[], missing: string | undefined): LiftedBlock {
  const { uops, firsts } = fuse(dropDeadFlags({ uops: b.uops, firsts: instructions.map(({ first }) => first) }));
  const last = instructions.at(-1);
  return {
    mode: b.mode,
    ip: b.blockIp,
    length: last === undefined ? 0 : last.offset + last.instruction.length,
    instructions: instructions.map((entry, n) => ({ ...entry, first: firsts[n] ?? 0 })),
    uops,
    missing,
    system: instructions.length === 1 && uops.length > 0 && uopDefinition(uops[0]?.op ?? 0).name === "sys",
  };
}

/** A block that raises an exception where no instruction could be decoded. */
function raising(mode: CodeMode, ip: bigint, vector: number, errorCode?: number): LiftedBlock {
  const b = new Builder(mode, ip);
  b.raiseIf(1n, vector, errorCode);
  return finish(b, [], undefined);
}

/** One instruction as a block of its own. */
export function liftInstruction(instruction: DecodedInstruction, mode: CodeMode): LiftedBlock {
  const b = new Builder(mode, instruction.ip);
  const outcome = lift(b, instruction);
  if (outcome !== "ends") b.continueAt(b.fallThrough);
  const missing = outcome === "missing" ? codeInfo(instruction.code).syntax : undefined;
  return finish(b, [{ instruction, offset: 0, first: 0 }], missing);
}

/**
 * Lift instructions up to the first that transfers control or needs the machine.
 *
 * @param next decodes the next instruction, in sequence from `ip` on (as of an {@link InstructionStream})
 * @returns undefined if not even the first instruction is complete: more bytes are needed
 */
export function liftBlock(
  next: () => DecodeResult,
  ip: bigint,
  mode: CodeMode,
  maxInstructions = MAX_BLOCK_INSTRUCTIONS,
): LiftedBlock | undefined {
  const b = new Builder(mode, ip);
  const instructions: LiftedInstruction[] = [];
  while (instructions.length < maxInstructions) {
    const result = next();
    if (result.kind !== "instruction") {
      if (instructions.length > 0) break;
      if (result.kind === "incomplete") return undefined;
      return result.kind === "invalid" ? raising(mode, ip, UD) : raising(mode, ip, GP, 0);
    }
    const { instruction } = result;
    const alone = standsAlone(instruction) || handlerOf(mode, instruction) !== undefined;
    if (alone && instructions.length > 0) break;
    instructions.push({ instruction, offset: Number(instruction.ip - ip), first: b.uops.length });
    const outcome = lift(b, instruction);
    if (outcome === "ends") return finish(b, instructions, undefined);
    if (outcome === "raises" || outcome === "missing") {
      b.continueAt(b.fallThrough);
      return finish(b, instructions, outcome === "missing" ? codeInfo(instruction.code).syntax : undefined);
    }
  }
  b.continueAt(b.fallThrough);
  return finish(b, instructions, undefined);
}
