export * from "./memory/ram.js";
