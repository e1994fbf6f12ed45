export * from "./debug-exit.js";
export * from "./fw-cfg.js";
export * from "./io-bus.js";
export * from "./uart16550.js";
