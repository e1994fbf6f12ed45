export * from "./block.js";
export * from "./mode.js";
