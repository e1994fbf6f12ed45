/**
 * One decoded instruction, free of the decoder's own objects (which live in WebAssembly memory and must be freed).
 * Numbers of `code`, `mnemonic` and registers are iced-x86's.
 */
export interface DecodedInstruction {
  readonly code: number;
  readonly mnemonic: number;
  /** Bytes, 1 to 15. */
  readonly length: number;
  /** Offset of the instruction in its code segment (RIP, EIP or IP). */
  readonly ip: bigint;
}
