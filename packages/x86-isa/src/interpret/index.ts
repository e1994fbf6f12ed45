export { WILL_WRITE } from "./emitter.js";
export * from "./generate.js";
export * from "./layout.js";
