export * from "./entry.js";
export * from "./guest-memory.js";
export * from "./pager.js";
export * from "./second-stage.js";
export * from "./tlb.js";
