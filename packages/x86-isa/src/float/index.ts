export * from "./arithmetic.js";
export * from "./compare.js";
export * from "./context.js";
export * from "./convert.js";
export * from "./format.js";
export * from "./nan.js";
export { round } from "./round.js";
export * from "./scale.js";
