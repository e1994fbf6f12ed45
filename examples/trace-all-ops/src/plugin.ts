import { traceAllOps } from "./trace.js";

/** For `tapvisor run IMAGE --plugin examples/trace-all-ops/dist/plugin.js`; the trace goes to the error stream. */
export default traceAllOps((line) => void process.stderr.write(`${line}\n`));
