import { failNthRead } from "./first-fault.js";

/** For `tapvisor run IMAGE --plugin examples/first-fault/dist/plugin.js`. */
export default failNthRead(3);
