import { describe, expect, it } from "vitest";
import { defineInterceptor } from "../../src/contract/index.js";
import type { Vcpu } from "../../src/contract/index.js";
import { fail, setUp } from "../support/interception.js";
import { fakeVcpu } from "../support/recording-backend.js";

describe("lifecycle hooks", () => {
  it("are one frozen record, with a handler for each", () => {
    const { dispatch } = setUp();
    expect(Object.isFrozen(dispatch.hooks)).toBe(true);
    expect(Object.isFrozen(dispatch.hooks.events)).toBe(true);
    expect(Object.isFrozen(dispatch.hooks.ops)).toBe(true);
  });

  it("call handlers in order with an event that they may change, in scope only, until detached", () => {
    const { dispatch, vm, vcpu } = setUp();
    const { exitToUser } = dispatch.hooks.events;
    expect(exitToUser.used).toBe(false);
    const attachment = dispatch.attach(
      defineInterceptor({
        name: "swap",
        hooks: {
          exitToUser: (event) => {
            event.exit = { reason: "shutdown" };
          },
        },
      }),
      { vcpu },
    );
    const fire = (who: Vcpu) => {
      const event = { vm: who.vm, vcpu: who, exit: { reason: "hlt" } as const };
      exitToUser.call(event);
      return event.exit.reason;
    };
    expect(fire(vcpu)).toBe("shutdown");
    expect(fire(fakeVcpu(vm, 7))).toBe("hlt");
    attachment.dispose();
    expect(fire(vcpu)).toBe("hlt");
    expect(exitToUser.used).toBe(false);
  });

  it("pass on a refusal in the hook's own name, and report mistakes under the interceptor's", () => {
    const { dispatch, vm } = setUp();
    const { vmCreated } = dispatch.hooks.events;
    const refusing = dispatch.attach(
      defineInterceptor({ name: "quota", hooks: { vmCreated: () => fail("EPERM", "vmCreated") } }),
    );
    expect(() => vmCreated.call({ vm })).toThrow(expect.objectContaining({ code: "EPERM" }));
    refusing.dispose();
    dispatch.attach(defineInterceptor({ name: "clumsy", hooks: { vmCreated: () => void JSON.parse("{") } }));
    expect(() => vmCreated.call({ vm })).toThrow(/interceptor "clumsy": hooks.vmCreated threw SyntaxError/);
  });
});
