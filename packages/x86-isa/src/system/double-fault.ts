import { VECTOR, exceptionClass } from "../tables/vectors.js";

/** What becomes of a fault met while an earlier exception is delivered. */
export type Escalation = "handle" | "double-fault" | "triple-fault";

/**
 * SDM vol. 3, "Interrupt 8 - Double Fault Exception (#DF)": conditions for a double fault.
 *
 * @param delivering vector of the exception in delivery; undefined for an interrupt, NMI or INT n, which are benign
 * @param second vector of the exception that its delivery met
 */
export function escalate(delivering: number | undefined, second: number): Escalation {
  const first = delivering === undefined ? "benign" : exceptionClass(delivering);
  const next = exceptionClass(second);
  if (first === "double-fault") return next === "benign" ? "handle" : "triple-fault";
  if (first === "contributory") return next === "contributory" ? "double-fault" : "handle";
  if (first === "page-fault") return next === "contributory" || next === "page-fault" ? "double-fault" : "handle";
  return "handle";
}

/** Exceptions that are faults push RF as 1; #DB decides by its cause and INT1, traps and aborts leave RF alone. */
export function pushesResumeFlag(vector: number): boolean {
  switch (vector) {
    case VECTOR.DB:
    case VECTOR.NMI:
    case VECTOR.BP:
    case VECTOR.OF:
    case VECTOR.DF:
    case VECTOR.MC:
      return false;
    default:
      return vector < 32;
  }
}
