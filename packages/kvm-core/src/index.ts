export * from "./contract/index.js";
export * from "./core.js";
export { OpDispatch, type CoreHooks, type OpStatus } from "./dispatch/dispatch.js";
export type { LifecycleHook, LifecycleHooks } from "./hooks/lifecycle-hook.js";
export { MAX_NESTED_DEPTH } from "./hooks/owner.js";
export * from "./init.js";
export * from "./registry/index.js";
export * from "./machine/index.js";
