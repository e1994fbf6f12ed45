import { defineInterceptor, type Interceptor } from "@tapvisor/sdk";

/** The `nth` RDMSR of the guest is refused: the call never reaches the backend, and the guest gets #GP(0). */
export function failNthRead(nth: number): Interceptor {
  let reads = 0;
  return defineInterceptor({
    name: "first-fault",
    ops: {
      get_msr: {
        before(call) {
          const [, msr] = call.args;
          if (msr.hostInitiated) return;
          reads++;
          if (reads === nth) call.answer(true);
        },
      },
    },
  });
}
