import { svmBackend } from "@tapvisor/arch-svm-stub";
import { vmxBackend } from "@tapvisor/arch-vmx";
import { AddressBus, STOCK_MACHINE, Uart16550 } from "@tapvisor/devices";
import type { ArchBackend, ByteSink, HostOptions, Interceptor, MachineModel } from "@tapvisor/kvm-core";
import { createMachine as composeMachine, defineMachine, type ComposedMachine } from "@tapvisor/sdk";
import { createHost, PROFILES, profileNamed, type ProcessorProfile } from "@tapvisor/x86-cpu";
import type { CpuidFeatureName } from "@tapvisor/x86-isa";

/** The backends of the stock machine, in the order in which they are tried. */
export const STOCK_BACKENDS: readonly ArchBackend[] = [vmxBackend, svmBackend];

export interface StockMachineOptions {
  /** Which devices it has; those of the stock machine unless told otherwise. */
  readonly model?: MachineModel;
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
  /** Where the serial port's output goes; nowhere unless told otherwise. */
  readonly console?: ByteSink;
  /** Told the syntax of each guest instruction that raises #UD because the processor does not have it. */
  readonly onMissingInstruction?: (syntax: string) => void;
}

/** The stock machine, and the parts of it that one talks to. */
export interface StockMachine extends ComposedMachine {
  readonly uart: Uart16550;
}

const MIB = 1 << 20;
/** RAM of the host beside the guest's: page tables, VMCS regions, bitmaps. */
const HOST_OVERHEAD = 32 * MIB;

/** Make a machine of one of the models, on processors of software. */
export function createMachine(options: StockMachineOptions = {}): StockMachine {
  const { model = STOCK_MACHINE, memorySize = 128 * MIB, cpus = 1, profile = PROFILES[0]?.name ?? "" } = options;
  const console = options.console ?? { write: () => {} };
  const machine = composeMachine(
    defineMachine({
      name: model.name,
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
      bus: () => new AddressBus(),
      devices: (board) => model.devices(board, console),
      firmware: (board) => model.firmware(board),
    }),
  );
  const uart = machine.devices.map(({ device }) => device).find((device) => device instanceof Uart16550);
  if (uart === undefined) throw new TypeError(`machine "${model.name}" has no serial port`);
  return Object.assign(machine, { uart });
}

function withAddressBits(profile: ProcessorProfile, bits: number | undefined): ProcessorProfile {
  return bits === undefined ? profile : { ...profile, physicalAddressBits: bits };
}
