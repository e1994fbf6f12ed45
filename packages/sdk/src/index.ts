export * from "./loaders/index.js";
