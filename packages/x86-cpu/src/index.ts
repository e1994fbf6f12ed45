export * from "./host/index.js";
export * from "./memory/ram.js";
export * from "./processor/index.js";
export * from "./profiles/index.js";
export * from "./time/index.js";
export { INTERCEPTION_CYCLES, VmxAbort } from "./vmx/world-switch.js";
