import type { MsrAccess, Vcpu } from "@tapvisor/kvm-core/contract";
import { vmxMsrRow } from "../msrs/rows.js";
import { toVmx } from "../vcpu-vmx.js";

export function vmxGetMsr(vcpu: Vcpu, msr: MsrAccess): boolean {
  const row = vmxMsrRow(msr.index);
  if (row === undefined) return toVmx(vcpu).kvm.getMsrCommon(vcpu, msr);
  const data = row.read(vcpu, msr);
  if (data === undefined) return true;
  msr.data = data;
  return false;
}

export function vmxSetMsr(vcpu: Vcpu, msr: MsrAccess): boolean {
  const row = vmxMsrRow(msr.index);
  return row === undefined ? toVmx(vcpu).kvm.setMsrCommon(vcpu, msr) : row.write(vcpu, msr);
}
