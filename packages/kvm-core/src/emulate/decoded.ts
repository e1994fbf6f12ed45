import {
  type CodeMode, type DecodedInstruction, type LiftedBlock, codeInfo, decode, liftInstruction,
} from "@tapvisor/x86-isa"; // prettier-ignore

export interface Decoded {
  readonly instruction: DecodedInstruction;
  readonly block: LiftedBlock;
  readonly bytes: Uint8Array;
  /** The instruction works on the registers of x87, MMX or SSE. */
  readonly fpu: boolean;
}

interface Entry extends Decoded {
  readonly mode: number;
}

/** A driver's loop touches its device from a few instructions: a power of two that holds them. */
const ENTRIES = 64;

/**
 * Instructions that were decoded lately, by their place and mode. Whoever takes one compares its bytes with what is in
 * memory, so nothing has to be invalidated.
 */
export class DecodeCache {
  readonly #entries: (Entry | undefined)[] = [];

  /** @param mode a number that tells the code mode from all others */
  find(ip: bigint, mode: number): Decoded | undefined {
    const entry = this.#entries[indexOf(ip)];
    return entry !== undefined && entry.mode === mode && entry.instruction.ip === ip ? entry : undefined;
  }

  /** Decode the instruction at the start of `bytes`, or undefined where there is none. */
  decode(bytes: Uint8Array, ip: bigint, mode: number, codeMode: CodeMode): Decoded | undefined {
    const result = decode(bytes, ip, codeMode.bitness);
    if (result.kind !== "instruction") return undefined;
    const { instruction } = result;
    const entry = {
      instruction,
      block: liftInstruction(instruction, codeMode),
      bytes: bytes.slice(0, instruction.length),
      fpu: usesFpu(instruction.code),
      mode,
    };
    this.#entries[indexOf(ip)] = entry;
    return entry;
  }
}

const indexOf = (ip: bigint): number => Number(ip & BigInt(ENTRIES - 1));

function usesFpu(code: number): boolean {
  const { extension, features } = codeInfo(code);
  return extension !== undefined || features.some((name) => /^(FXSR|XSAVE|SSE)/.test(name));
}
