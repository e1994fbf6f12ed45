/** When the emulator asks about an instruction: x86_intercept_stage. */
export type InterceptStage = "pre-exception" | "post-exception" | "post-memory-access";

/**
 * The instruction that is being emulated, as `check_intercept` gets it: struct x86_instruction_info. Made once there is
 * nested virtualization.
 */
export interface InstructionInfo {
  /** Name of the intercept (x86_intercept), such as `cr-read`, `rdtsc`, `io`. */
  readonly intercept: string;
  /** REP prefix byte, or 0. */
  readonly repPrefix: number;
  readonly modrmMod: number;
  readonly modrmReg: number;
  readonly modrmRm: number;
  readonly srcValue: bigint;
  readonly dstValue: bigint;
  readonly srcBytes: number;
  readonly dstBytes: number;
  /** Address size in bytes. */
  readonly addressBytes: number;
  readonly nextRip: bigint;
}
