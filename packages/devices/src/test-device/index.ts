export * from "./device-memory.js";
export * from "./flush-page.js";
export * from "./irq-lines.js";
export * from "./latch.js";
