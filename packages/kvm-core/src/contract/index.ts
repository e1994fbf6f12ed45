export * from "../host/index.js";
export * from "./device.js";
export * from "./exits.js";
export * from "./exports.js";
export * from "./pmu.js";
export * from "./state.js";
export * from "./vm.js";
