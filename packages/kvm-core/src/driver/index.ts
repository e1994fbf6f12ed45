export { VcpuDriver, type DriverOptions, type DriverParts, type InputRecord } from "./vcpu-driver.js";
export type { DriverStop } from "./stop.js";
