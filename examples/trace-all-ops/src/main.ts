import { runGuest } from "./run.js";
import { traceAllOps } from "./trace.js";

const output = await runGuest(traceAllOps((line) => console.log(line)));
console.log(`the guest said: ${output.trim()}`);
