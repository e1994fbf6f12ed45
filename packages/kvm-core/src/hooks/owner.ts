import { InterceptorError } from "../contract/index.js";
import type { Interceptor, InterceptorScope, Vcpu, Vm } from "../contract/index.js";

/** How deep handlers may call ops from inside ops and still be heard by others: beyond it a call goes straight through. */
export const MAX_NESTED_DEPTH = 4;

/** Count of the handlers that are on the stack, in one core. */
export class HandlerFrames {
  depth = 0;
}

/** An interceptor in one core, however often it is attached there. */
export class Owner {
  readonly name: string;
  readonly frames: HandlerFrames;
  /** One of its handlers is running, and has not gone on to `next`: it does not hear of what it does itself. */
  busy = false;

  constructor(interceptor: Interceptor, frames: HandlerFrames) {
    this.name = interceptor.name;
    this.frames = frames;
  }

  /** Run a handler. What it throws by mistake is reported under its name; `deliberate` tells what is not a mistake. */
  run<T>(where: string, deliberate: (error: unknown) => boolean, handler: () => T): T {
    const { frames } = this;
    this.busy = true;
    frames.depth++;
    try {
      const answer = handler();
      if (answer instanceof Promise) {
        // It is reported here and now; a rejection that nobody awaits would be a second report.
        answer.catch(() => undefined);
        throw new TypeError("a promise was returned: handlers are synchronous");
      }
      return answer;
    } catch (error) {
      if (error instanceof InterceptorError || deliberate(error)) throw error;
      const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      throw new InterceptorError("ERR_INTERCEPTOR_THREW", this.name, `${where} threw ${message}`, { cause: error });
    } finally {
      frames.depth--;
      this.busy = false;
    }
  }

  /** Run what is not the handler's own doing though it is called from it: the rest of a chain. */
  leave<T>(rest: () => T): T {
    const { frames } = this;
    this.busy = false;
    frames.depth--;
    try {
      return rest();
    } finally {
      frames.depth++;
      this.busy = true;
    }
  }
}

/** Does an attachment hear of what concerns this VM and vCPU? */
export function inScope(scope: InterceptorScope | undefined, vm: Vm | undefined, vcpu: Vcpu | undefined): boolean {
  if (scope === undefined) return true;
  return scope.vcpu === undefined ? scope.vm === vm : scope.vcpu === vcpu;
}
