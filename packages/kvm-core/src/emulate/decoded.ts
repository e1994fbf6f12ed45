import { type CodeMode, type DecodedInstruction, type LiftedBlock, decode, liftInstruction } from "@tapvisor/x86-isa";

export interface Decoded {
  readonly instruction: DecodedInstruction;
  readonly block: LiftedBlock;
}

interface Entry extends Decoded {
  readonly bytes: Uint8Array;
  readonly mode: CodeMode;
}

/** A driver's loop touches its device from a few instructions: a power of two that holds them. */
const ENTRIES = 64;

/** Instructions that were decoded lately, by their place. The bytes are compared, so nothing has to be invalidated. */
export class DecodeCache {
  readonly #entries: (Entry | undefined)[] = [];

  /** The instruction at the start of `bytes`, or undefined where there is none. */
  decode(bytes: Uint8Array, ip: bigint, mode: CodeMode): Decoded | undefined {
    const index = Number(ip & BigInt(ENTRIES - 1));
    const known = this.#entries[index];
    if (
      known !== undefined &&
      known.instruction.ip === ip &&
      sameMode(known.mode, mode) &&
      startsWith(bytes, known.bytes)
    ) {
      return known;
    }
    const result = decode(bytes, ip, mode.bitness);
    if (result.kind !== "instruction") return undefined;
    const { instruction } = result;
    const entry = {
      instruction,
      block: liftInstruction(instruction, mode),
      bytes: bytes.slice(0, instruction.length),
      mode,
    };
    this.#entries[index] = entry;
    return entry;
  }
}

function sameMode(a: CodeMode, b: CodeMode): boolean {
  return (
    a.bitness === b.bitness &&
    a.stackBytes === b.stackBytes &&
    a.virtual8086 === b.virtual8086 &&
    a.protectedMode === b.protectedMode
  );
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  if (bytes.length < prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) if (bytes[i] !== prefix[i]) return false;
  return true;
}
