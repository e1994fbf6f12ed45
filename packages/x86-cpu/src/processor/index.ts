export { HOST_TIMER_VECTOR } from "./host-interrupts.js";
export { Processor } from "./processor.js";
export type { HostSegment, HostSegmentValue } from "./root-mode.js";
export { HostGeneralProtection, HostUndefinedOpcode } from "./root-faults.js";
