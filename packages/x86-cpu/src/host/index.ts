export { VirtualClock, TSC_KHZ } from "./clock.js";
export { createHost, type HostSpec, type SoftwareHost } from "./create-host.js";
export { SerialScheduler } from "./scheduler.js";
export { VirtualTimers } from "./timers.js";
