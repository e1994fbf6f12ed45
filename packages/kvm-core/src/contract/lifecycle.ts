import type { ArchBackend } from "./backend.js";
import type { VcpuExit } from "./exits.js";
import type { MemorySlot, Vcpu, Vm } from "./vm.js";

/** Whose events a handler may be attached to: those of a whole core, of one VM, or of one vCPU. */
export type ScopeKind = "core" | "vm" | "vcpu";

/**
 * What happens in a core besides op calls. A handler is called with the event, and may change the members that are not
 * readonly; it refuses what happens by throwing a `KvmError` whose `syscall` is the hook.
 */
export interface LifecycleEvents {
  discoverBackends: {
    /** Tried in this order. Add, remove and move as needed. */
    backends: ArchBackend[];
  };
  backendChosen: { readonly backend: ArchBackend };
  vmCreated: { readonly vm: Vm };
  vmDestroyed: { readonly vm: Vm };
  vcpuCreated: { readonly vm: Vm; readonly vcpu: Vcpu };
  vcpuDestroyed: { readonly vm: Vm; readonly vcpu: Vcpu };
  memorySlotChanged: {
    readonly vm: Vm;
    readonly change: "create" | "delete" | "move" | "flags";
    readonly slot: MemorySlot | undefined;
    readonly old: MemorySlot | undefined;
  };
  exitToUser: { readonly vm: Vm; readonly vcpu: Vcpu; exit: VcpuExit };
  deviceAccess: {
    readonly vm: Vm;
    readonly vcpu: Vcpu | undefined;
    readonly space: "port" | "memory";
    /** Port, or guest physical address. */
    readonly address: number;
    readonly isWrite: boolean;
    /** Name of the device that claimed the access, or undefined where none did. */
    readonly device: string | undefined;
    /** Of a read: what the device answered. Of a write: what it is about to get. In place, little-endian. */
    readonly data: Uint8Array;
    /** Set on a write: the device does not get it. */
    drop: boolean;
  };
  timerFired: {
    readonly name: string;
    /** Both in ns of the host's clock. */
    readonly deadline: number;
    readonly now: number;
    /** The timer's owner does not hear of it. */
    drop: boolean;
  };
}

export type LifecycleName = keyof LifecycleEvents;

export interface LifecycleDescription {
  /** The narrowest scope that a handler can have. */
  readonly scope: ScopeKind;
  readonly summary: string;
}

/** Every lifecycle hook, declared once. */
export const LIFECYCLE_HOOKS: { readonly [N in LifecycleName]: LifecycleDescription } = Object.freeze({
  discoverBackends: { scope: "core", summary: "The backends that were found, before one is chosen." },
  backendChosen: { scope: "core", summary: "A backend probed successfully and was registered." },
  vmCreated: { scope: "core", summary: "A VM was created." },
  vmDestroyed: { scope: "vm", summary: "A VM is about to be destroyed." },
  vcpuCreated: { scope: "vm", summary: "A vCPU was created and reset." },
  vcpuDestroyed: { scope: "vcpu", summary: "A vCPU is about to be freed." },
  memorySlotChanged: { scope: "vm", summary: "A memory slot was created, deleted, moved, or got other flags." },
  exitToUser: { scope: "vcpu", summary: "run() is about to return: the exit can be exchanged." },
  deviceAccess: {
    scope: "vcpu",
    summary:
      "A guest's access leaves it: a device was read, or is about to be written, in the kernel (the local APIC's page included) or by user space; the bytes can be changed, the write dropped.",
  },
  timerFired: { scope: "core", summary: "A timer of the host is due." },
});

export const LIFECYCLE_NAMES: readonly LifecycleName[] = Object.freeze(Object.keys(LIFECYCLE_HOOKS) as LifecycleName[]);

export function isLifecycleName(name: string): name is LifecycleName {
  return Object.hasOwn(LIFECYCLE_HOOKS, name);
}
