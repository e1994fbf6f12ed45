/** V8's limit of frames in a stack trace; other engines do without. */
const frames = Error as ErrorConstructor & { stackTraceLimit?: number };

/**
 * An error that is an ordinary outcome (a fault of the guest, a device that has to be read first), thrown to unwind and
 * always caught: it takes no stack trace, which would cost more than all the rest of a fault.
 */
export class StacklessError extends Error {
  constructor(message: string) {
    const limit = frames.stackTraceLimit;
    if (limit !== undefined) frames.stackTraceLimit = 0;
    super(message);
    if (limit !== undefined) frames.stackTraceLimit = limit;
  }
}
