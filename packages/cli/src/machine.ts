import { svmBackend } from "@tapvisor/arch-svm-stub";
import { vmxBackend } from "@tapvisor/arch-vmx";
import { AddressBus, DebugExit, FwCfg, machineItems, Uart16550 } from "@tapvisor/devices";
import type { ArchBackend, ByteSink, Interceptor } from "@tapvisor/kvm-core";
import { createMachine as composeMachine, defineMachine, type Board, type ComposedMachine } from "@tapvisor/sdk";
import { createHost, PROFILES, profileNamed } from "@tapvisor/x86-cpu";

/** Where the stock machine's devices are, as on a PC under QEMU. */
export const PLACES = { DEBUG_EXIT: 0xf4, COM1: 0x3f8, COM1_GSI: 4, FW_CFG: 0x510 } as const;

/** The backends of the stock machine, in the order in which they are tried. */
export const STOCK_BACKENDS: readonly ArchBackend[] = [vmxBackend, svmBackend];

export interface StockMachineOptions {
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
  /** Name of the backend; otherwise the first that supports the processor. */
  readonly backend?: string;
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

/** Make the stock machine: one serial port, the debug-exit port and fw_cfg about the vCPUs. */
export function createMachine(options: StockMachineOptions = {}): StockMachine {
  const { memorySize = 128 * MIB, cpus = 1, profile = PROFILES[0]?.name ?? "", console } = options;
  const uarts: Uart16550[] = [];
  const placeDevices = ({ environment, irq, onInput }: Board) => {
    const uart = new Uart16550({ sink: console ?? { write: () => {} }, line: irq(PLACES.COM1_GSI), environment });
    uarts.push(uart);
    onInput((bytes) => uart.send(bytes));
    return [
      { bus: "port", base: PLACES.COM1, device: uart },
      { bus: "port", base: PLACES.DEBUG_EXIT, device: new DebugExit(environment) },
      { bus: "port", base: PLACES.FW_CFG, device: new FwCfg(machineItems(memorySize, cpus)) },
    ] as const;
  };
  const machine = composeMachine(
    defineMachine({
      name: "stock",
      memorySize,
      cpus,
      host: () => {
        const host = createHost({
          profile: profileNamed(profile),
          ramBytes: memorySize + HOST_OVERHEAD,
          processors: cpus,
          // An image made for the other vendor runs too, unless a vendor is asked for by name.
          options: { foreignSyscall: options.cpuidVendor === undefined },
          ...(options.onMissingInstruction === undefined ? {} : { onMissingInstruction: options.onMissingInstruction }),
        });
        return { host, retired: () => host.clock.instructions };
      },
      ...(options.cpuidVendor === undefined ? {} : { cpuidVendor: options.cpuidVendor }),
      backends: STOCK_BACKENDS,
      ...(options.backend === undefined ? {} : { backend: options.backend }),
      interceptors: options.interceptors ?? [],
      bus: () => new AddressBus(),
      devices: placeDevices,
    }),
  );
  const [uart] = uarts;
  if (uart === undefined) throw new TypeError("the stock machine was made without its serial port");
  return Object.assign(machine, { uart });
}
