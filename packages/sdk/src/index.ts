export * from "./loaders/index.js";
export * from "./define/index.js";
export * from "./machine/index.js";
