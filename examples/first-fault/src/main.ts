import { failNthRead } from "./first-fault.js";
import { runGuest } from "./run.js";

const untouched = await runGuest([]);
const faulty = await runGuest([failNthRead(3)]);
console.log(`without the fault: ${untouched.console.trim()}`);
console.log(`get_msr fails once: ${faulty.console.trim()}, and the guest ended with ${faulty.stop}`);
