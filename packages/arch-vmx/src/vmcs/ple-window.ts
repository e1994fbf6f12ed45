import type { VcpuVmx } from "../vcpu-vmx.js";

/** Factor of ple_window_grow. The shrink factor of 4.9 is 0: back to the start at once. */
const GROW = 2;
const MAX_WINDOW = Math.trunc(0x7fffffff / GROW);

function set(vmx: VcpuVmx, window: number): void {
  if (vmx.pleWindow === window) return;
  vmx.pleWindow = window;
  vmx.pleWindowDirty = true;
}

/** A PAUSE loop exited: let the next one spin twice as long. */
export function growPleWindow(vmx: VcpuVmx): void {
  set(vmx, Math.min(vmx.pleWindow, Math.trunc(MAX_WINDOW / GROW)) * GROW);
}

/** The vCPU was scheduled again: what it waited for may have changed. */
export function shrinkPleWindow(vmx: VcpuVmx): void {
  set(vmx, vmx.intel.host.options.pleWindow);
}
