export * from "./decode/decode.js";
export * from "./decode/instruction.js";
export * from "./decode/registers.js";
export * from "./machine.js";
export * from "./state/cpu-state.js";
export * from "./state/flags.js";
export * from "./state/layout.js";
export * from "./uops/definition.js";
