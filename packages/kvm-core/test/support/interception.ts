import { KvmError } from "../../src/contract/index.js";
import type { MsrAccess, Vcpu } from "../../src/contract/index.js";
import { OpDispatch } from "../../src/dispatch/dispatch.js";
import { fakeVcpu, fakeVm, recordingOps, testClock } from "./recording-backend.js";
import type { RecordedCall } from "./recording-backend.js";

/** A bound dispatch with a backend that records its calls, and a vCPU to call with. */
export function setUp() {
  const calls: RecordedCall[] = [];
  const clock = testClock();
  const dispatch = new OpDispatch(clock);
  const backend = recordingOps(calls);
  dispatch.bind("recording", backend);
  const vm = fakeVm();
  const vcpu = fakeVcpu(vm);
  const msr: MsrAccess = { index: 0x10, data: 0n, hostInitiated: false };
  return { calls, clock, dispatch, ops: dispatch.coreCalls, vm, vcpu, msr, backend };
}

/** What `run` throws. */
export function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

/** VM and vCPU by their numbers. */
export function idOf(vcpu: Vcpu | undefined): string {
  return vcpu === undefined ? "-" : `${String(vcpu.vm.id)}/${String(vcpu.id)}`;
}

/** Fail as the host does. */
export function fail(code: "ENOMEM" | "EFAULT" | "EPERM", syscall: string): never {
  throw new KvmError(code, syscall);
}
