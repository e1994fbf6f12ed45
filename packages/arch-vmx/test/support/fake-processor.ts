import { HostGeneralProtection, type HostSegment, type HostSegmentValue } from "@tapvisor/kvm-core/contract";
import {
  capabilityBits, CPU_BASED, CPUID, FEATURE_CONTROL, MSR, PIN_BASED, SECONDARY_EXEC, VM_ENTRY, VM_EXIT, VMCS, vmcsField,
  VMX_BASIC, VMX_EPT_VPID_CAP, VMX_INSTRUCTION_ERROR, VMX_MISC,
} from "@tapvisor/x86-isa"; // prettier-ignore
import { VM_FAIL_INVALID, VM_FAIL_VALID, VM_SUCCEED, type VmxProcessor, type VmxStatus } from "../../src/processor.js";

const allow = (mayBeOne: number, mustBeOne = 0): bigint => (BigInt(mayBeOne >>> 0) << 32n) | BigInt(mustBeOne >>> 0);

/** Every control that the backend asks for, and EPT with all that it uses. */
export const FULL_CAPABILITIES: readonly (readonly [number, bigint])[] = [
  [MSR.IA32_VMX_BASIC, 0x1234n | capabilityBits(VMX_BASIC.REGION_SIZE, 4096) | capabilityBits(VMX_BASIC.MEMORY_TYPE, 6)],
  [MSR.IA32_VMX_PINBASED_CTLS, allow(~0, 0x16)],
  [MSR.IA32_VMX_PROCBASED_CTLS, allow(~CPU_BASED.TPR_SHADOW, 0x0401e172)],
  [MSR.IA32_VMX_PROCBASED_CTLS2, allow(
    SECONDARY_EXEC.WBINVD_EXITING | SECONDARY_EXEC.ENABLE_VPID | SECONDARY_EXEC.ENABLE_EPT |
    SECONDARY_EXEC.UNRESTRICTED_GUEST | SECONDARY_EXEC.PAUSE_LOOP_EXITING | SECONDARY_EXEC.RDTSCP |
    SECONDARY_EXEC.ENABLE_INVPCID)],
  [MSR.IA32_VMX_EXIT_CTLS, allow(~VM_EXIT.CLEAR_BNDCFGS, 0x36dff)],
  [MSR.IA32_VMX_ENTRY_CTLS, allow(~VM_ENTRY.LOAD_BNDCFGS, 0x11ff)],
  [MSR.IA32_VMX_MISC, capabilityBits(VMX_MISC.PREEMPTION_TIMER_RATE, 5)],
  [MSR.IA32_VMX_EPT_VPID_CAP, [
    VMX_EPT_VPID_CAP.EPT_PAGE_WALK_4, VMX_EPT_VPID_CAP.EPTP_WB, VMX_EPT_VPID_CAP.INVEPT,
    VMX_EPT_VPID_CAP.INVEPT_SINGLE_CONTEXT, VMX_EPT_VPID_CAP.INVEPT_ALL_CONTEXT, VMX_EPT_VPID_CAP.INVVPID,
    VMX_EPT_VPID_CAP.INVVPID_SINGLE_CONTEXT, VMX_EPT_VPID_CAP.EPT_ACCESSED_DIRTY,
  ].reduce((all, field) => all | capabilityBits(field, 1), 0n)],
]; // prettier-ignore

/** MSRs of the host that the backend reads or switches. */
const HOST_MSRS: readonly (readonly [number, bigint])[] = [
  [MSR.IA32_FEATURE_CONTROL, FEATURE_CONTROL.LOCKED | FEATURE_CONTROL.VMXON_ENABLED_OUTSIDE_SMX],
  [MSR.IA32_EFER, 0xd01n], [MSR.IA32_STAR, 1n], [MSR.IA32_LSTAR, 2n], [MSR.IA32_CSTAR, 3n], [MSR.IA32_FMASK, 4n],
  [MSR.IA32_TSC_AUX, 5n], [MSR.IA32_FS_BASE, 0xf5n], [MSR.IA32_GS_BASE, 0x65n], [MSR.IA32_KERNEL_GS_BASE, 0x66n],
  [MSR.IA32_SYSENTER_CS, 0n], [MSR.IA32_SYSENTER_ESP, 0x5e5n], [MSR.IA32_SYSENTER_EIP, 0x5e1n],
  [MSR.IA32_PAT, 0x0007040600070406n], [MSR.IA32_DEBUGCTL, 0n],
]; // prettier-ignore

const READ_ONLY_FIELDS = 0x400;

/** A VT-x processor without a guest: VMCSs are maps, and `enter` plays the guest until its exit. */
export class FakeVmxProcessor implements VmxProcessor {
  readonly online = true;
  readonly interruptPending = false;
  readonly gprs = new Uint32Array(32);
  readonly cr2 = new Uint32Array(2);
  readonly msrs = new Map<number, bigint>([...FULL_CAPABILITIES, ...HOST_MSRS]);
  readonly crs = new Map<number, bigint>([[0, 0x80050033n], [3, 0x1000n], [4, 0x20n]]); // prettier-ignore
  readonly drs = new Map<number, bigint>();
  readonly segments = new Map<HostSegment, HostSegmentValue>([
    ["cs", { selector: 0x10, base: 0n, limit: 0xffffffff }],
    ["ss", { selector: 0x18, base: 0n, limit: 0xffffffff }],
    ["tr", { selector: 0x40, base: 0x7000n, limit: 0x206f }],
    ["gdtr", { selector: 0, base: 0x6000n, limit: 0x7f }],
    ["idtr", { selector: 0, base: 0x5000n, limit: 0xfff }],
  ]);
  /** CPUID bits, by feature. */
  features = new Set([CPUID.VMX, CPUID.NX, CPUID.RDTSCP, CPUID.VME]);
  /** VMX instructions in order, but VMREAD and VMWRITE: `vmxon 0x1000`. */
  readonly log: string[] = [];
  readonly vmcss = new Map<number, Map<number, bigint>>();
  current = -1;
  vmxStatus: VmxStatus = VM_SUCCEED;
  time = 0;
  bigintReads = 0;
  /** What VMLAUNCH and VMRESUME do; they fail with this status instead when it is one. */
  enter: (() => VmxStatus) | undefined;
  vmxonStatus: VmxStatus = VM_SUCCEED;

  constructor(readonly id: number) {}

  get fields(): Map<number, bigint> {
    const fields = this.vmcss.get(this.current);
    if (fields === undefined) throw new Error("no current VMCS");
    return fields;
  }

  field(encoding: number): bigint {
    return this.fields.get(encoding) ?? 0n;
  }

  cpuid(leaf: number, subleaf: number) {
    const result = { eax: leaf === 1 ? 0x50654 : 0, ebx: 0, ecx: 0, edx: 0 };
    for (const f of this.features) if (f.leaf === leaf && f.subleaf === subleaf) result[f.register] |= 1 << f.bit;
    return result;
  }
  rdmsr(index: number): bigint {
    const value = this.msrs.get(index);
    if (value === undefined) throw new HostGeneralProtection(`RDMSR 0x${index.toString(16)}`);
    return value;
  }
  wrmsr(index: number, value: bigint): void {
    if (!this.msrs.has(index)) throw new HostGeneralProtection(`WRMSR 0x${index.toString(16)}`);
    this.msrs.set(index, value);
  }
  rdtsc(): bigint {
    return BigInt(this.time);
  }
  tsc(): number {
    return this.time;
  }
  readCr(cr: number): bigint {
    return this.crs.get(cr) ?? 0n;
  }
  writeCr(cr: number, value: bigint): void {
    this.crs.set(cr, value);
  }
  readDr(dr: number): bigint {
    return this.drs.get(dr) ?? 0n;
  }
  writeDr(dr: number, value: bigint): void {
    this.drs.set(dr, value);
  }
  readXcr0(): bigint {
    return 1n;
  }
  writeXcr0(): void {}
  readPkru(): number {
    return 0;
  }
  writePkru(): void {}
  saveFpu(): void {}
  loadFpu(): void {}
  readSegment(name: HostSegment): HostSegmentValue {
    return this.segments.get(name) ?? { selector: 0, base: 0n, limit: 0 };
  }
  writeSegment(name: HostSegment, value: HostSegmentValue): void {
    this.segments.set(name, value);
  }
  raiseInterrupt(): void {}
  acknowledgeInterrupt(): number {
    return -1;
  }
  raiseNmi(): void {}
  setTimer(): void {}

  vmxon(region: number): VmxStatus {
    this.log.push(`vmxon 0x${region.toString(16)}`);
    return this.vmxonStatus;
  }
  vmxoff(): VmxStatus {
    this.log.push("vmxoff");
    return VM_SUCCEED;
  }
  vmclear(vmcs: number): VmxStatus {
    this.log.push(`vmclear 0x${vmcs.toString(16)}`);
    if (this.current === vmcs) this.current = -1;
    return VM_SUCCEED;
  }
  vmptrld(vmcs: number): VmxStatus {
    this.log.push(`vmptrld 0x${vmcs.toString(16)}`);
    if (!this.vmcss.has(vmcs)) this.vmcss.set(vmcs, new Map());
    this.current = vmcs;
    return VM_SUCCEED;
  }
  vmptrst(): number {
    return this.current;
  }

  #access(field: number, write: boolean): Map<number, bigint> | undefined {
    this.vmxStatus = VM_SUCCEED;
    if (this.current === -1) {
      this.vmxStatus = VM_FAIL_INVALID;
      return undefined;
    }
    const known = vmcsField(field) !== undefined;
    if (!known || (write && (field & 0xc00) === READ_ONLY_FIELDS)) {
      this.vmxStatus = VM_FAIL_VALID;
      const error = known
        ? VMX_INSTRUCTION_ERROR.VMWRITE_READ_ONLY_VMCS_COMPONENT
        : VMX_INSTRUCTION_ERROR.UNSUPPORTED_VMCS_COMPONENT;
      this.fields.set(VMCS.VM_INSTRUCTION_ERROR, BigInt(error));
      return undefined;
    }
    return this.fields;
  }

  vmread(field: number): bigint {
    this.bigintReads++;
    return this.#access(field, false)?.get(field) ?? 0n;
  }
  vmread32(field: number): number {
    return Number((this.#access(field, false)?.get(field) ?? 0n) & 0xffffffffn);
  }
  vmreadNumber(field: number): number {
    return Number((this.#access(field, false)?.get(field) ?? 0n) & 0xfffffffffffffn);
  }
  vmreadWords(field: number, into: Uint32Array, at: number): VmxStatus {
    const value = this.#access(field, false)?.get(field) ?? 0n;
    into[at] = Number(value & 0xffffffffn);
    into[at + 1] = Number(value >> 32n);
    return this.vmxStatus;
  }
  vmwrite(field: number, value: bigint): VmxStatus {
    this.#access(field, true)?.set(field, value);
    return this.vmxStatus;
  }
  vmwrite32(field: number, value: number): VmxStatus {
    return this.vmwrite(field, BigInt(value >>> 0));
  }
  vmwriteNumber(field: number, value: number): VmxStatus {
    return this.vmwrite(field, BigInt(value));
  }
  vmwriteWords(field: number, low: number, high: number): VmxStatus {
    return this.vmwrite(field, (BigInt(high) << 32n) | BigInt(low));
  }

  vmlaunch(): VmxStatus {
    this.log.push("vmlaunch");
    return this.enter?.() ?? VM_SUCCEED;
  }
  vmresume(): VmxStatus {
    this.log.push("vmresume");
    return this.enter?.() ?? VM_SUCCEED;
  }
  invept(type: number, eptp: number): VmxStatus {
    this.log.push(`invept ${type} 0x${eptp.toString(16)}`);
    return VM_SUCCEED;
  }
  invvpid(type: number, vpid: number): VmxStatus {
    this.log.push(`invvpid ${type} ${vpid}`);
    return VM_SUCCEED;
  }

  /** Controls that a capability MSR allows, less some. */
  forbid(msr: number, controls: number): void {
    this.msrs.set(msr, this.rdmsr(msr) & ~(BigInt(controls >>> 0) << 32n) & ~BigInt(controls >>> 0));
  }

  withoutPinControls(...names: (keyof typeof PIN_BASED)[]): this {
    for (const name of names) this.forbid(MSR.IA32_VMX_PINBASED_CTLS, PIN_BASED[name]);
    return this;
  }
}
