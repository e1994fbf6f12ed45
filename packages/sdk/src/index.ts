export * from "./loaders/index.js";
export * from "./define/index.js";
