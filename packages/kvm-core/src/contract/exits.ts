/**
 * Why `vcpu.run()` came back: what `kvm_run` holds after KVM_RUN, as one value. Names are those of KVM_EXIT_*.
 * `budget` and `idle` have no counterpart there: in Linux the thread would be preempted, or sleep.
 */
export type VcpuExit =
  | { readonly reason: "io"; readonly io: IoExit }
  | { readonly reason: "mmio"; readonly mmio: MmioExit }
  | { readonly reason: "hypercall"; readonly nr: bigint; readonly args: readonly bigint[] }
  | {
      readonly reason: "debug";
      readonly exception: number;
      readonly pc: bigint;
      readonly dr6: bigint;
      readonly dr7: bigint;
    }
  | { readonly reason: "hlt" }
  | { readonly reason: "irq_window_open" }
  | { readonly reason: "shutdown" }
  /** `dump`: the control structure of the vCPU as text, a line a field. */
  | { readonly reason: "fail_entry"; readonly hardwareEntryFailureReason: number; readonly dump?: string }
  /** An exception that the backend intercepts and neither emulates nor gives to the guest. */
  | { readonly reason: "exception"; readonly exception: number; readonly errorCode: number }
  | { readonly reason: "intr" }
  | { readonly reason: "set_tpr" }
  | { readonly reason: "tpr_access"; readonly rip: bigint; readonly isWrite: boolean }
  | { readonly reason: "internal_error"; readonly suberror: InternalError; readonly data: readonly bigint[] }
  | { readonly reason: "system_event"; readonly type: "shutdown" | "reset" | "crash" }
  | { readonly reason: "ioapic_eoi"; readonly vector: number }
  | { readonly reason: "unknown"; readonly hardwareExitReason: number }
  /** The virtual time that `run()` was given is used up. */
  | { readonly reason: "budget" }
  /** Halted with nothing pending, or waiting for SIPI: the processor is free for another vCPU. */
  | { readonly reason: "idle" };

export type ExitReason = VcpuExit["reason"];

/** KVM_EXIT_IO: `count` accesses of `size` bytes at `port`. For `in`, user space fills `data` before it runs again. */
export interface IoExit {
  readonly direction: "in" | "out";
  readonly size: 1 | 2 | 4;
  readonly port: number;
  readonly count: number;
  /** `size * count` bytes, little-endian. */
  readonly data: Uint8Array;
}

/** KVM_EXIT_MMIO: one access of 1 to 8 bytes. For a read, user space fills `data` before it runs again. */
export interface MmioExit {
  /** Guest physical address. */
  readonly address: number;
  readonly isWrite: boolean;
  readonly length: number;
  readonly data: Uint8Array;
}

/** KVM_INTERNAL_ERROR_*. */
export type InternalError = "emulation" | "simul_ex" | "delivery_ev";
