/**
 * Every code that an error of ours can carry. Those of the host side have the name and the number of the errno that
 * Linux answers with (asm-generic/errno.h); those that start with ERR_ are about a plugin, and have no number.
 */
export const ERROR_CODES = {
  EPERM: { errno: 1, meaning: "operation not permitted" },
  ENOENT: { errno: 2, meaning: "no such object" },
  EIO: { errno: 5, meaning: "processors differ, or the hardware failed" },
  ENXIO: { errno: 6, meaning: "no such interrupt controller or device" },
  E2BIG: { errno: 7, meaning: "the list is too long" },
  EBADF: { errno: 9, meaning: "the object was closed" },
  EAGAIN: { errno: 11, meaning: "try again" },
  ENOMEM: { errno: 12, meaning: "out of memory" },
  EFAULT: { errno: 14, meaning: "bad address" },
  EBUSY: { errno: 16, meaning: "in use" },
  EEXIST: { errno: 17, meaning: "exists already" },
  ENODEV: { errno: 19, meaning: "no such processor or device" },
  EINVAL: { errno: 22, meaning: "invalid argument" },
  ENOSPC: { errno: 28, meaning: "no space left" },
  ERANGE: { errno: 34, meaning: "out of range" },
  ENOSYS: { errno: 38, meaning: "not implemented" },
  EOPNOTSUPP: { errno: 95, meaning: "not supported by this processor" },
  ERR_UNKNOWN_OP: { meaning: "the contract has no such op" },
  ERR_UNKNOWN_HOOK: { meaning: "the core has no such hook" },
  ERR_INTERCEPTOR_SCOPE: { meaning: "the op has no argument that could match the scope" },
  ERR_INTERCEPTOR_SHAPE: { meaning: "not the definition of an interceptor" },
  ERR_INTERCEPTOR_THREW: { meaning: "an interceptor failed by its own mistake" },
} as const satisfies Record<string, { readonly errno?: number; readonly meaning: string }>;

export type ErrorCode = keyof typeof ERROR_CODES;
/** Codes that Linux has, and so those that an op or an API call may answer with. */
export type KvmErrorCode = {
  [C in ErrorCode]: (typeof ERROR_CODES)[C] extends { readonly errno: number } ? C : never;
}[ErrorCode];
/** Codes of what goes wrong in a plugin. */
export type InterceptorErrorCode = Exclude<ErrorCode, KvmErrorCode>;

/**
 * A failure of the host side, in the shape of Node's system errors. What a guest is to see is never one of these:
 * it is a return value.
 */
export class KvmError extends Error {
  readonly code: KvmErrorCode;
  /** Negative, as libuv and the kernel's return values have it. */
  readonly errno: number;
  /** The ioctl, op or function that failed: `KVM_CREATE_VCPU`, `hardware_setup`. */
  readonly syscall: string;

  constructor(code: KvmErrorCode, syscall: string, detail?: string, options?: { readonly cause?: unknown }) {
    super(`${code}: ${detail ?? ERROR_CODES[code].meaning}, ${syscall}`, options);
    this.name = "KvmError";
    this.code = code;
    this.errno = -ERROR_CODES[code].errno;
    this.syscall = syscall;
  }
}

/** A mistake of a plugin: reported under the plugin's name, never as a failure of the backend or the core. */
export class InterceptorError extends Error {
  readonly code: InterceptorErrorCode;
  /** Name of the interceptor at fault. */
  readonly interceptor: string;

  constructor(code: InterceptorErrorCode, interceptor: string, detail: string, options?: { readonly cause?: unknown }) {
    super(`${code}: interceptor "${interceptor}": ${detail}`, options);
    this.name = "InterceptorError";
    this.code = code;
    this.interceptor = interceptor;
  }
}
