/**
 * Thrown where the guest leaves non-root operation, after the exit has been recorded. One frozen object and no `Error`:
 * an exit is ordinary, and a stack trace would cost more than the exit.
 */
export const VM_EXIT: unique symbol = Symbol("VM exit");
