import type { MsrAccess, Vcpu } from "@tapvisor/kvm-core/contract";
import { toVmx, type VcpuVmx } from "../vcpu-vmx.js";
import { findSharedMsr, isSwitched } from "../vmcs/msr-switch.js";

/** All that the backend knows of one MSR. One that has no row is the core's alone. */
export interface VmxMsrRow {
  readonly index: number;
  /** vmx_get_msr: the value, or undefined for #GP. */
  readonly read: (vcpu: Vcpu, msr: MsrAccess) => bigint | undefined;
  /** vmx_set_msr: true = refused. */
  readonly write: (vcpu: Vcpu, msr: MsrAccess) => boolean;
  /** What power-on does to it; INIT keeps MSRs (SDM vol. 3, "Processor State After Reset"). */
  readonly reset?: (vcpu: Vcpu) => void;
  /** The guest accesses it without an exit, since entries and exits switch it: in every mode, or in IA-32e mode alone. */
  readonly passThrough?: "every-mode" | "long-mode";
  /** It is switched late, by one of the core's slots for shared MSRs. */
  readonly shared?: boolean;
}

interface Options {
  readonly passThrough?: VmxMsrRow["passThrough"];
  /** The guest has it; user space's accesses may come all the same. Absent: always. */
  readonly offered?: (vmx: VcpuVmx, vcpu: Vcpu, msr: MsrAccess) => boolean;
  readonly accepts?: (data: bigint) => boolean;
}

const isOffered = (vcpu: Vcpu, msr: MsrAccess, { offered }: Options): boolean =>
  offered === undefined || offered(toVmx(vcpu), vcpu, msr);

/** An MSR that is a field of the VMCS's guest state. Power-on leaves 0. */
export function vmcsField(index: number, field: number, bits: 32 | 64, options: Options = {}): VmxMsrRow {
  const write = (vcpu: Vcpu, data: bigint): void => {
    const { vmcs } = toVmx(vcpu);
    if (bits === 64) vmcs.write(field, data);
    else vmcs.write32(field, Number(data & 0xffffffffn));
  };
  return {
    index,
    ...passThrough(options),
    read(vcpu, msr) {
      if (!isOffered(vcpu, msr, options)) return undefined;
      const { vmcs } = toVmx(vcpu);
      return bits === 64 ? vmcs.read(field) : BigInt(vmcs.read32(field));
    },
    write(vcpu, msr) {
      if (!isOffered(vcpu, msr, options)) return true;
      write(vcpu, msr.data);
      return false;
    },
    // A field that the processor has not got cannot be written.
    reset: (vcpu) => {
      if (options.offered?.(toVmx(vcpu), vcpu, POWER_ON) !== false) write(vcpu, 0n);
    },
  };
}

/** The base address of FS or GS: a field that the segment's own reset brings back. */
export function segmentBase(index: number, field: number): VmxMsrRow {
  return {
    index,
    passThrough: "every-mode",
    read: (vcpu) => toVmx(vcpu).vmcs.read(field),
    write(vcpu, { data }) {
      const { vmcs, segmentCache } = toVmx(vcpu);
      segmentCache.clear();
      vmcs.write(field, data);
      return false;
    },
  };
}

/** An MSR that a guest has of its own and no entry or exit switches; where the processor lacks it, the core answers. */
export function shared(index: number, options: Options = {}): VmxMsrRow {
  return {
    index,
    shared: true,
    read(vcpu, msr) {
      if (!isOffered(vcpu, msr, options)) return undefined;
      const vmx = toVmx(vcpu);
      const entry = findSharedMsr(vmx, index);
      if (entry !== undefined) return entry.data;
      return vmx.kvm.getMsrCommon(vcpu, msr) ? undefined : msr.data;
    },
    write(vcpu, msr) {
      if (!isOffered(vcpu, msr, options) || options.accepts?.(msr.data) === false) return true;
      const vmx = toVmx(vcpu);
      return findSharedMsr(vmx, index) === undefined
        ? vmx.kvm.setMsrCommon(vcpu, msr)
        : setShared(vmx, index, msr.data);
    },
    reset: (vcpu) => void setShared(toVmx(vcpu), index, 0n),
  };
}

/** Where the guest's values are loaded the new one has to be too; a processor that refuses it leaves the old one. */
function setShared(vmx: VcpuVmx, index: number, data: bigint): boolean {
  const entry = findSharedMsr(vmx, index);
  if (entry === undefined) return true;
  const old = entry.data;
  entry.data = data;
  if (!isSwitched(vmx, entry)) return false;
  const refused = vmx.kvm.setSharedMsr(entry.slot, data, entry.mask);
  if (refused) entry.data = old;
  return refused;
}

/** The access that stands for power-on. */
const POWER_ON: MsrAccess = { index: 0, data: 0n, hostInitiated: true };

const passThrough = ({ passThrough }: Options): Pick<VmxMsrRow, "passThrough"> =>
  passThrough === undefined ? {} : { passThrough };
