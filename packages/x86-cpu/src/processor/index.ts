export { HOST_TIMER_VECTOR } from "./host-interrupts.js";
export { Processor, type HostSegment, type HostSegmentValue } from "./processor.js";
export { HostGeneralProtection, HostUndefinedOpcode } from "./root-faults.js";
