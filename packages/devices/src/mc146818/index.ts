export { mc146818, type Mc146818Context } from "./mc146818.js";
export { RTC, type Mc146818State } from "./registers.js";
