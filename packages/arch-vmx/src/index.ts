export { vmxBackend } from "./backend.js";
export * from "./processor.js";
