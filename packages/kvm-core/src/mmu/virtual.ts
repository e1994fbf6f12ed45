import { PAGE_SIZE } from "../contract/index.js";
import { injectPageFault } from "../events/exceptions.js";
import { readGuest } from "../memory/guest.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { isFault, translate } from "./walk.js";

/**
 * kvm_read_guest_virt at the guest's privilege level. False, with the #PF that the guest is to get queued, where a page
 * cannot be read.
 */
export function readGuestVirt(vcpu: VcpuState, linear: bigint, into: Uint8Array): boolean {
  const access = { write: false, user: vcpu.kvm.ops.get_cpl(vcpu) === 3, fetch: false, implicit: false };
  for (let done = 0; done < into.length;) {
    const at = linear + BigInt(done);
    const bytes = Math.min(into.length - done, PAGE_SIZE - Number(at & 0xfffn));
    const result = translate(vcpu, at, access);
    if (isFault(result)) {
      injectPageFault(vcpu, result.errorCode, at);
      return false;
    }
    if (!readGuest(vcpu.vm, result.address, into.subarray(done, done + bytes))) return false;
    done += bytes;
  }
  return true;
}
