import { CR0, CR4, GuestException, VECTOR, type Bitness, type CodeMode, stackAddressBytes } from "@tapvisor/x86-isa";
import { PAGE_SIZE } from "../contract/index.js";
import { readGuest } from "../memory/guest.js";
import { type GuestAccess, isFault, translate } from "../mmu/walk.js";
import { ripRead } from "../registers/cache.js";
import { is64BitMode, readCr0, readCr4 } from "../registers/control.js";
import { linearRip } from "../registers/flags.js";
import type { VcpuState } from "../state/vcpu-state.js";
import type { Decoded } from "./decoded.js";
import type { EmulatorEnvironment } from "./environment.js";
import { CannotEmulate } from "./state.js";

const MAX_BYTES = 15;

const fetchAccess = (vcpu: VcpuState): GuestAccess =>
  vcpu.kvm.ops.get_cpl(vcpu) === 3 ? USER_FETCH : SUPERVISOR_FETCH;
const USER_FETCH: GuestAccess = { write: false, user: true, fetch: true, implicit: false };
const SUPERVISOR_FETCH: GuestAccess = { ...USER_FETCH, user: false };

/** The bytes at RIP, up to 15 of them; fewer where the next page cannot be fetched from. Throws what the first page meets. */
export function fetchBytes(vcpu: VcpuState): Uint8Array {
  const linear = linearRip(vcpu);
  const bytes = new Uint8Array(MAX_BYTES);
  const access = fetchAccess(vcpu);
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

/** Bits of CR0 and CR4 that lifting depends on. */
const CODE_MODE_CR0 = CR0.PE | CR0.MP | CR0.EM | CR0.TS;
const VIRTUAL8086 = 1 << 4;
const OSFXSR = 1 << 5;
const CR0_SHIFT = 8;

/** A number that says all that lifting depends on; {@link codeMode} reads it. */
function modeNumber(emulator: EmulatorEnvironment): number {
  const { vcpu } = emulator;
  return (
    stackAddressBytes(emulator.state) |
    (emulator.virtual8086 ? VIRTUAL8086 : 0) |
    (readCr4(vcpu, CR4.OSFXSR) === 0n ? 0 : OSFXSR) |
    (Number(readCr0(vcpu, CODE_MODE_CR0)) << CR0_SHIFT) |
    (emulator.bitness << (2 * CR0_SHIFT))
  );
}

function codeMode(mode: number): CodeMode {
  const cr0 = (bit: bigint): boolean => ((mode >> CR0_SHIFT) & Number(bit)) !== 0;
  return {
    bitness: (mode >> (2 * CR0_SHIFT)) as Bitness,
    stackBytes: (mode & 0xf) as CodeMode["stackBytes"],
    flat: false,
    virtual8086: (mode & VIRTUAL8086) !== 0,
    protectedMode: cr0(CR0.PE),
    extensions: { em: cr0(CR0.EM), mp: cr0(CR0.MP), ts: cr0(CR0.TS), osfxsr: (mode & OSFXSR) !== 0 },
  };
}

/** The instruction at RIP, or undefined where the bytes are none. Throws what fetching meets. */
export function decodeAt(emulator: EmulatorEnvironment): Decoded | undefined {
  const { vcpu, decoded } = emulator;
  const ip = ripRead(vcpu);
  const mode = modeNumber(emulator);
  const known = decoded.find(ip, mode);
  if (known !== undefined && isThere(vcpu, known.bytes)) return known;
  return decoded.decode(fetchBytes(vcpu), ip, mode, codeMode(mode));
}

/** Whether the code at RIP is still these bytes, on one page. */
function isThere(vcpu: VcpuState, bytes: Uint8Array): boolean {
  const linear = linearRip(vcpu);
  if (Number(linear & 0xfffn) + bytes.length > PAGE_SIZE) return false;
  const result = translate(vcpu, linear, fetchAccess(vcpu));
  if (isFault(result)) return false;
  const host = vcpu.vm.slots.hostAddressOf(result.address);
  if (host === -1) return false;
  const { memory } = vcpu.kvm.host;
  for (let i = 0; i < bytes.length; i++) if (memory.readU8(host + i) !== bytes[i]) return false;
  return true;
}
