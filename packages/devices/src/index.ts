export * from "./acpi/index.js";
export * from "./debug-exit.js";
export * from "./fw-cfg.js";
export * from "./boards/index.js";
export * from "./mc146818/index.js";
export * from "./test-device/index.js";
export * from "./uart16550/index.js";
