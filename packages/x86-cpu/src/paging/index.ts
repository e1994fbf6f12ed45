export * from "./entry.js";
export * from "./pager.js";
export * from "./second-stage.js";
export * from "./tlb.js";
