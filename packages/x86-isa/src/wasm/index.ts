export * from "./module.js";
export * from "./opcodes.js";
export * from "./writer.js";
