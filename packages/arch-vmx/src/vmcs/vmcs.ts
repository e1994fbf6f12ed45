import { vmaccessError } from "../errors.js";
import { VM_SUCCEED, type VmxProcessor } from "../processor.js";

/**
 * The current VMCS of a processor, by field. Every access is checked: a VMfail means that the backend names a field
 * that the processor does not have, or that another VMCS is current, and is thrown as such.
 */
export class CurrentVmcs {
  /** @param processor where the VMCS is current; `vcpu_load` changes it */
  constructor(public processor: VmxProcessor) {}

  /** Low 32 bits, unsigned. */
  read32(field: number): number {
    const value = this.processor.vmread32(field);
    if (this.processor.vmxStatus !== VM_SUCCEED) throw vmaccessError(this.processor, "VMREAD", field);
    return value >>> 0;
  }

  /** A field of at most 52 bits: a physical address. */
  readNumber(field: number): number {
    const value = this.processor.vmreadNumber(field);
    if (this.processor.vmxStatus !== VM_SUCCEED) throw vmaccessError(this.processor, "VMREAD", field);
    return value;
  }

  read(field: number): bigint {
    const value = this.processor.vmread(field);
    if (this.processor.vmxStatus !== VM_SUCCEED) throw vmaccessError(this.processor, "VMREAD", field);
    return value;
  }

  /** Two words, low first, into `into[at]` and `into[at + 1]`. */
  readWords(field: number, into: Uint32Array, at: number): void {
    if (this.processor.vmreadWords(field, into, at) !== VM_SUCCEED)
      throw vmaccessError(this.processor, "VMREAD", field);
  }

  write32(field: number, value: number): void {
    if (this.processor.vmwrite32(field, value) !== VM_SUCCEED) throw vmaccessError(this.processor, "VMWRITE", field);
  }

  writeNumber(field: number, value: number): void {
    if (this.processor.vmwriteNumber(field, value) !== VM_SUCCEED)
      throw vmaccessError(this.processor, "VMWRITE", field);
  }

  write(field: number, value: bigint): void {
    if (this.processor.vmwrite(field, BigInt.asUintN(64, value)) !== VM_SUCCEED)
      throw vmaccessError(this.processor, "VMWRITE", field);
  }

  writeWords(field: number, low: number, high: number): void {
    if (this.processor.vmwriteWords(field, low, high) !== VM_SUCCEED)
      throw vmaccessError(this.processor, "VMWRITE", field);
  }

  setBits(field: number, bits: number): void {
    this.write32(field, (this.read32(field) | bits) >>> 0);
  }

  clearBits(field: number, bits: number): void {
    this.write32(field, (this.read32(field) & ~bits) >>> 0);
  }
}
