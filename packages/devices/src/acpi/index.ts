export * from "./power-management.js";
export * from "./tables.js";
