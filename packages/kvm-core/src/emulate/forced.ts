import { GuestException } from "@tapvisor/x86-isa";
import { ripRead, ripWrite } from "../registers/cache.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { fetchBytes } from "./fetch.js";
import { CannotEmulate } from "./state.js";

/** UD2 and "kvm" (__KVM_EMULATE_PREFIX of later kernels). */
const PREFIX = [0x0f, 0x0b, 0x6b, 0x76, 0x6d] as const;

/**
 * Step over the forced-emulation prefix at RIP, where the host allows it: true when there was one. What the instruction
 * behind it meets is then met at its own address.
 */
export function skipForcePrefix(vcpu: VcpuState): boolean {
  if (!vcpu.kvm.host.options.forceEmulationPrefix) return false;
  let bytes: Uint8Array;
  try {
    bytes = fetchBytes(vcpu);
  } catch (error) {
    if (error instanceof GuestException || error instanceof CannotEmulate) return false;
    throw error;
  }
  if (!PREFIX.every((byte, i) => bytes[i] === byte)) return false;
  ripWrite(vcpu, ripRead(vcpu) + BigInt(PREFIX.length));
  return true;
}
