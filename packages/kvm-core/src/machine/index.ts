export { Machine, type InputRecord, type MachineParts, type MachineRunOptions } from "./machine.js";
export type { MachineStop } from "./stop.js";
