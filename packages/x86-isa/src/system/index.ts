export * from "./control-rules.js";
export * from "./delivery.js";
export * from "./double-fault.js";
export * from "./event.js";
export * from "./handlers.js";
export { linearAddress } from "./memory.js";
export {
  cpl,
  is64Bit,
  isCanonical,
  isLongMode,
  isProtected,
  isVirtual8086,
  loadRealSegment,
  setFlags,
  stackAddressBytes,
} from "./mode.js";
export { effectiveAddress, readOperand, readRegister, writeOperand, writeRegister } from "./operands.js";
export { loadSegmentRegister } from "./segment-loads.js";
export { trapsByFinalFlags } from "./single-step.js";
export { switchTask, type TaskSwitch, type TaskSwitchOutcome } from "./task-switch.js";
