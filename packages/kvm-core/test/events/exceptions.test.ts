import { CR0, VECTOR } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { REQUEST } from "../../src/contract/index.js";
import { queueException, queueExceptionE, requeueExceptionE } from "../../src/events/exceptions.js";
import { scriptedVcpu } from "../support/scripted.js";

function setUp(protectedMode = true) {
  const scripted = scriptedVcpu();
  if (protectedMode) scripted.vcpu.arch.cr0 |= CR0.PE;
  return { ...scripted, exception: scripted.vcpu.arch.exception };
}

const tripleFault = (requests: number): boolean => (requests & (1 << REQUEST.TRIPLE_FAULT)) !== 0;

/** SDM vol. 3, "Interrupt 8 - Double Fault Exception", the table of what two exceptions make. */
describe("a second exception", () => {
  it.each([
    [VECTOR.GP, VECTOR.NP, VECTOR.DF],
    [VECTOR.DE, VECTOR.SS, VECTOR.DF],
    [VECTOR.PF, VECTOR.PF, VECTOR.DF],
    [VECTOR.PF, VECTOR.GP, VECTOR.DF],
    [VECTOR.GP, VECTOR.PF, VECTOR.PF],
    [VECTOR.UD, VECTOR.GP, VECTOR.GP],
    [VECTOR.GP, VECTOR.UD, VECTOR.UD],
    [VECTOR.PF, VECTOR.DB, VECTOR.DB],
  ])("after %i, %i leaves %i to be delivered", (first, second, delivered) => {
    const { vcpu, exception } = setUp();
    queueExceptionE(vcpu, first, 5);
    queueException(vcpu, second);
    expect(exception.nr).toBe(delivered);
    if (delivered === VECTOR.DF) expect(exception).toMatchObject({ hasErrorCode: true, errorCode: 0 });
    expect(tripleFault(vcpu.arch.requests)).toBe(false);
  });

  it("after a double fault shuts the processor down", () => {
    const { vcpu } = setUp();
    queueExceptionE(vcpu, VECTOR.DF, 0);
    queueExceptionE(vcpu, VECTOR.PF, 2);
    expect(tripleFault(vcpu.arch.requests)).toBe(true);
    expect(vcpu.run()).toEqual({ reason: "shutdown" });
  });
});

describe("an exception", () => {
  it("has no error code in real mode", () => {
    const { vcpu, exception } = setUp(false);
    queueExceptionE(vcpu, VECTOR.GP, 8);
    expect(exception).toMatchObject({ pending: true, nr: VECTOR.GP, hasErrorCode: false });
  });

  it("is delivered with RF in the flags when it is a fault, and without when it is a trap", () => {
    for (const [vector, rf] of [
      [VECTOR.GP, true],
      [VECTOR.BP, false],
      [VECTOR.DB, false],
    ] as const) {
      const { vcpu, script, stateOf } = setUp();
      queueException(vcpu, vector);
      script.push((v) => {
        v.exit = { reason: "hlt" };
        return false;
      });
      vcpu.run();
      expect((stateOf(vcpu).rflags & 0x10000n) !== 0n).toBe(rf);
    }
  });

  it("goes to the backend as it was queued, and says whether it is delivered again", () => {
    const queued: unknown[][] = [];
    const { vcpu, script } = scriptedVcpu({
      change: (ops) => {
        ops.queue_exception = (_vcpu, ...args) => void queued.push(args);
      },
    });
    vcpu.arch.cr0 |= CR0.PE;
    requeueExceptionE(vcpu, VECTOR.PF, 7);
    script.push((v) => {
      v.exit = { reason: "hlt" };
      return false;
    });
    vcpu.run();
    expect(queued).toEqual([[VECTOR.PF, true, 7, true]]);
  });
});

describe("vCPU events", () => {
  it("are saved and restored", () => {
    const from = setUp();
    queueExceptionE(from.vcpu, VECTOR.PF, 3);
    from.vcpu.nmi();
    from.stateOf(from.vcpu).shadow = 2;
    from.stateOf(from.vcpu).nmiMasked = true;
    const events = from.vcpu.getVcpuEvents();
    expect(events).toMatchObject({
      exception: { injected: true, nr: VECTOR.PF, errorCode: 3 },
      interrupt: { injected: false, shadow: 2 },
      nmi: { pending: true, masked: true },
    });
    const to = setUp();
    to.vcpu.setVcpuEvents(events);
    expect(to.vcpu.getVcpuEvents()).toEqual(events);
  });

  it("refuse a vector that is no exception's", () => {
    const { vcpu } = setUp();
    const events = vcpu.getVcpuEvents();
    for (const nr of [2, 32, -1]) {
      const bad = { ...events, exception: { injected: true, nr, hasErrorCode: false, errorCode: 0 } };
      expect(() => vcpu.setVcpuEvents(bad)).toThrow(/EINVAL: exception.nr/);
    }
  });

  it("keep one NMI waiting behind the one in service", () => {
    const { vcpu, stateOf } = setUp();
    for (let i = 0; i < 5; i++) vcpu.nmi();
    vcpu.getVcpuEvents();
    expect(vcpu.arch.nmiPending).toBe(2);
    stateOf(vcpu).nmiMasked = true;
    vcpu.nmi();
    vcpu.getVcpuEvents();
    expect(vcpu.arch.nmiPending).toBe(1);
  });
});
