import { CR0, GuestException, VECTOR, type CodeMode, stackAddressBytes } from "@tapvisor/x86-isa";
import { PAGE_SIZE } from "../contract/index.js";
import { readGuest } from "../memory/guest.js";
import { isFault, translate } from "../mmu/walk.js";
import { ripRead } from "../registers/cache.js";
import { is64BitMode, readCr0 } from "../registers/control.js";
import { linearRip } from "../registers/flags.js";
import type { KvmVcpu } from "../vcpu.js";
import type { Decoded } from "./decoded.js";
import type { EmulatorMachine } from "./machine.js";
import { CannotEmulate } from "./state.js";

const MAX_BYTES = 15;

/** The bytes at RIP, up to 15 of them; fewer where the next page cannot be fetched from. Throws what the first page meets. */
export function fetchBytes(vcpu: KvmVcpu): Uint8Array {
  const linear = linearRip(vcpu);
  const bytes = new Uint8Array(MAX_BYTES);
  const access = { write: false, user: vcpu.kvm.ops.get_cpl(vcpu) === 3, fetch: true, implicit: false };
  const long = is64BitMode(vcpu);
  for (let done = 0; done < MAX_BYTES;) {
    const at = long ? BigInt.asUintN(64, linear + BigInt(done)) : (linear + BigInt(done)) & 0xffffffffn;
    const result = translate(vcpu, at, access);
    const count = Math.min(MAX_BYTES - done, PAGE_SIZE - Number(at & 0xfffn));
    if (isFault(result)) {
      if (done > 0) return bytes.subarray(0, done);
      throw new GuestException(VECTOR.PF, result.errorCode, at);
    }
    if (!readGuest(vcpu.vm, result.address, bytes.subarray(done, done + count))) {
      if (done > 0) return bytes.subarray(0, done);
      throw new CannotEmulate("code that is not in memory");
    }
    done += count;
  }
  return bytes;
}

function codeMode(vcpu: KvmVcpu, machine: EmulatorMachine): CodeMode {
  const { bitness } = machine;
  return {
    bitness,
    stackBytes: stackAddressBytes(machine.state),
    flat: false,
    virtual8086: machine.virtual8086,
    protectedMode: readCr0(vcpu, CR0.PE) !== 0n,
  };
}

/** The instruction at RIP, or undefined where the bytes are none. Throws what fetching meets. */
export function decodeAt(vcpu: KvmVcpu, machine: EmulatorMachine): Decoded | undefined {
  return machine.decoded.decode(fetchBytes(vcpu), ripRead(vcpu), codeMode(vcpu, machine));
}
