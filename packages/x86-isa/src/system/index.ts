export * from "./event.js";
export * from "./handlers.js";
