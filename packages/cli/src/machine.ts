import { svmBackend } from "@tapvisor/arch-svm-stub";
import { vmxBackend } from "@tapvisor/arch-vmx";
import { STOCK_BOARD } from "@tapvisor/devices";
import type { ArchBackend, ByteSink, HostOptions, Interceptor, BoardModel } from "@tapvisor/kvm-core";
import { createMachine as composeMachine, defineMachine, type Machine } from "@tapvisor/sdk";
import { createHost, PROFILES, profileNamed, type ProcessorProfile } from "@tapvisor/x86-cpu";
import type { CpuidFeatureName } from "@tapvisor/x86-isa";

/** The backends of the stock machine, in the order in which they are tried. */
export const STOCK_BACKENDS: readonly ArchBackend[] = [vmxBackend, svmBackend];

export interface StockMachineOptions {
  /** Which devices it has, and where; those of the stock machine unless told otherwise. */
  readonly board?: BoardModel;
  /** Bytes of guest memory, whole MiB; 128 MiB unless told otherwise. */
  readonly memorySize?: number;
  /** vCPUs, and logical processors of the host. */
  readonly cpus?: number;
  /** Name of the processor profile; the first one unless told otherwise. */
  readonly profile?: string;
  /**
   * Vendor that the guest's CPUID shows, and to which instructions are held. Unless told otherwise it is the
   * processor's own, and SYSCALL outside 64-bit mode, which is AMD's alone, is emulated all the same.
   */
  readonly cpuidVendor?: string;
  /** Features that the guest's CPUID does not show. */
  readonly cpuidWithout?: readonly CpuidFeatureName[];
  /** Bits of a physical address, where they are to be other than the profile's. */
  readonly physicalAddressBits?: number;
  /** Name of the backend; otherwise the first that supports the processor. */
  readonly backend?: string;
  /** Kernel and module parameters that differ from the defaults of Linux. */
  readonly hostOptions?: Partial<HostOptions>;
  readonly interceptors?: readonly Interceptor[];
  /** Where the output of the first serial port goes; nowhere unless told otherwise. */
  readonly console?: ByteSink;
  /** Told the syntax of each guest instruction that raises #UD because the processor does not have it. */
  readonly onMissingInstruction?: (syntax: string) => void;
}

const MIB = 1 << 20;
/** RAM of the host beside the guest's: page tables, VMCS regions, bitmaps. */
const HOST_OVERHEAD = 32 * MIB;

/** Make a machine with one of the boards, on processors of software. */
export function createMachine(options: StockMachineOptions = {}): Machine {
  const { board = STOCK_BOARD, memorySize = 128 * MIB, cpus = 1, profile = PROFILES[0]?.name ?? "" } = options;
  const console = options.console ?? { write: () => {} };
  return composeMachine(
    defineMachine({
      name: board.name,
      memorySize,
      cpus,
      host: () => {
        const host = createHost({
          profile: withAddressBits(profileNamed(profile), options.physicalAddressBits),
          ramBytes: memorySize + HOST_OVERHEAD,
          processors: cpus,
          ...(options.onMissingInstruction === undefined ? {} : { onMissingInstruction: options.onMissingInstruction }),
        });
        return { host, retired: () => host.clock.instructions };
      },
      hostOptions: {
        // An image made for the other vendor runs too, unless a vendor is asked for by name.
        foreignSyscall: options.cpuidVendor === undefined,
        ...options.hostOptions,
      },
      ...(options.cpuidVendor === undefined ? {} : { cpuidVendor: options.cpuidVendor }),
      ...(options.cpuidWithout === undefined ? {} : { cpuidWithout: options.cpuidWithout }),
      backends: STOCK_BACKENDS,
      ...(options.backend === undefined ? {} : { backend: options.backend }),
      interceptors: options.interceptors ?? [],
      devices: (offers) => board.devices(offers, console),
      firmware: (offers) => board.firmware(offers),
    }),
  );
}

function withAddressBits(profile: ProcessorProfile, bits: number | undefined): ProcessorProfile {
  return bits === undefined ? profile : { ...profile, physicalAddressBits: bits };
}
