import { describe, expect, expectTypeOf, it } from "vitest";
import { defineInterceptor } from "../../src/contract/index.js";
import type { MsrAccess, OpCall, Vcpu } from "../../src/contract/index.js";
import { thrownBy } from "../support/interception.js";

describe("the definition of an interceptor", () => {
  it("names an unknown op, a likely one, and all there are", () => {
    const error = thrownBy(() =>
      defineInterceptor({ name: "typo", ops: { get_mrs: { before: () => undefined } } as object }),
    );
    expect(error).toMatchObject({ code: "ERR_UNKNOWN_OP", interceptor: "typo" });
    expect(String(error)).toMatch(
      /unknown op "get_mrs" \(did you mean get_msr.*\); there are: cpu_has_kvm_support, .*setup_mce/,
    );
    expect(String(error)).not.toContain("\n");
  });

  it("names an unknown hook, and all there are", () => {
    const error = thrownBy(() => defineInterceptor({ name: "typo", hooks: { vmCreate: () => undefined } as object }));
    expect(error).toMatchObject({ code: "ERR_UNKNOWN_HOOK" });
    expect(String(error)).toContain("did you mean vmCreated?");
  });

  it.each([
    [{ name: "" }, /name must be a string/],
    [{ name: "x", op: {} }, /the interceptor has no "op"; there are: name, stage, before, ops, hooks/],
    [
      { name: "x", ops: { get_cpl: { instead: () => 0 } } },
      /ops.get_cpl has no "instead"; there are: before, around, after, observe/,
    ],
    [{ name: "x", ops: { get_cpl: { before: 7 } } }, /ops.get_cpl.before must be a function, got number/],
    [{ name: "x", ops: { get_cpl: null } }, /ops.get_cpl must be an object/],
    [{ name: "x", ops: { get_cpl: { observe: { leave: () => 0 } } } }, /has no "leave"; there are: enter, exit/],
  ])("refuses %j", (definition, message) => {
    const error = thrownBy(() => defineInterceptor(definition as never));
    expect(error).toMatchObject({ code: "ERR_INTERCEPTOR_SHAPE" });
    expect(String(error)).toMatch(message);
  });

  it("is typed by the op: arguments, result, next", () => {
    defineInterceptor({
      name: "typed",
      ops: {
        get_msr: {
          before: (call) => {
            expectTypeOf(call.args).toEqualTypeOf<[vcpu: Vcpu, msr: MsrAccess]>();
            expectTypeOf(call.answer).parameter(0).toEqualTypeOf<boolean>();
          },
          around: (next, vcpu, msr) => {
            expectTypeOf(msr).toEqualTypeOf<MsrAccess>();
            expectTypeOf(next.opCall).toEqualTypeOf<OpCall<"get_msr">>();
            return next(vcpu, msr);
          },
        },
        // @ts-expect-error get_cpl answers with a number
        get_cpl: { around: () => true },
        set_rflags: {
          before: (call) => {
            // @ts-expect-error RFLAGS is a bigint
            call.args[1] = 2;
          },
        },
      },
    });
    // @ts-expect-error there is no such op
    expect(() => defineInterceptor({ name: "typed", ops: { get_mrs: {} } })).toThrow();
  });
});
