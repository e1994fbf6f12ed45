export { vmxBackend } from "./backend.js";
export { vmxExitName } from "./exits/exit-name.js";
export * from "./processor.js";
