/**
 * Thrown to leave non-root operation once the VM-exit information fields are written. One object, made in advance: a VM
 * exit is no error and needs no stack trace.
 */
export const VM_EXIT_SIGNAL = Object.freeze({ toString: () => "VM exit" });
