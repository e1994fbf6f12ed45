export { assemble, composeCore, registerCore, type CoreOptions, type CoreParts } from "./compose.js";
export { chooseBackend } from "./discovery.js";
export { Registry, type Injectable } from "./registry.js";
export * from "./tokens.js";
