export { createHost, type HostSpec, type SoftwareHost } from "./create-host.js";
export { SerialScheduler } from "./scheduler.js";
