import type { InternalError } from "../contract/index.js";

/** Why the driver came to an end. */
export type DriverStop =
  /** The guest wrote `value` to the debug-exit port. */
  | { readonly stop: "debug-exit"; readonly value: number }
  /** Every vCPU is halted, and nothing that could wake one is due. */
  | { readonly stop: "halt" }
  /** The guest turned the power off, or shut down by a triple fault. */
  | { readonly stop: "shutdown" }
  /** The guest asked for a reset; the machine does not start over by itself. */
  | { readonly stop: "reset" }
  /** The instructions that the run was given are used up. */
  | { readonly stop: "budget" }
  /** The caller's signal asked for the end. */
  | { readonly stop: "aborted" }
  /** KVM_EXIT_DEBUG: a breakpoint or step that `setGuestDebug` asked for. */
  | { readonly stop: "debug"; readonly vcpu: number; readonly exception: number; readonly pc: bigint }
  | {
      readonly stop: "internal-error";
      readonly vcpu: number;
      readonly suberror: InternalError | "exception" | "unknown_exit";
    }
  | {
      readonly stop: "fail-entry";
      readonly vcpu: number;
      readonly hardwareEntryFailureReason: number;
      readonly dump: string | undefined;
    };
