import { MSR, MSR_NAMES } from "@tapvisor/x86-isa";
import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { describe, expect, it } from "vitest";
import type { VmxMsrRow as Row } from "../src/msrs/row.js";
import { VMX_MSR_ROWS } from "../src/msrs/rows.js";
import { TestMachine } from "./support/machine.js";

/** Their power-on value is another's to restore: the segments', the core's. */
const RESET_ELSEWHERE: ReadonlySet<number> = new Set([
  MSR.IA32_FS_BASE, MSR.IA32_GS_BASE, MSR.IA32_EFER, MSR.IA32_PAT, MSR.IA32_TIME_STAMP_COUNTER,
]); // prettier-ignore

function setUp() {
  const machine = new TestMachine();
  machine.kvm.features.add("RDTSCP");
  return { machine, vcpu: machine.vcpu() };
}

const read = (row: Row, vcpu: Vcpu): bigint | undefined =>
  row.read(vcpu, { index: row.index, data: 0n, hostInitiated: true });

/** Write something other than 0; false for an MSR that takes nothing. */
function change(row: Row, vcpu: Vcpu): boolean {
  const refused = row.write(vcpu, { index: row.index, data: 1n, hostInitiated: true });
  return !refused && read(row, vcpu) === 1n;
}

const nameOf = ({ index }: Row): string => MSR_NAMES.get(index) ?? index.toString(16);

describe("the backend's MSRs", () => {
  const own = VMX_MSR_ROWS.filter(({ index }) => !RESET_ELSEWHERE.has(index));

  it("are all 0 after power-on, whatever the guest wrote", () => {
    const { machine, vcpu } = setUp();
    const changed = own.filter((row) => change(row, vcpu));
    expect(changed.map(nameOf)).toEqual(
      expect.arrayContaining([
        "IA32_KERNEL_GS_BASE", "IA32_FMASK", "IA32_LSTAR", "IA32_CSTAR", "IA32_TSC_AUX", "IA32_STAR",
        "IA32_SYSENTER_CS", "IA32_SYSENTER_ESP", "IA32_SYSENTER_EIP", "IA32_FEATURE_CONTROL",
      ]), // prettier-ignore
    );
    machine.ops.vcpu_reset(vcpu, false);
    expect(changed.map((row) => [nameOf(row), read(row, vcpu)])).toEqual(changed.map((row) => [nameOf(row), 0n]));
  });

  it("are kept over INIT", () => {
    const { machine, vcpu } = setUp();
    const changed = own.filter((row) => change(row, vcpu));
    machine.ops.vcpu_reset(vcpu, true);
    expect(changed.map((row) => [nameOf(row), read(row, vcpu)])).toEqual(changed.map((row) => [nameOf(row), 1n]));
  });
});
