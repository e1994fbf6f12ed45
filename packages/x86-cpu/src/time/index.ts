export { VirtualClock, TSC_KHZ } from "./clock.js";
export { VirtualTimers } from "./timers.js";
