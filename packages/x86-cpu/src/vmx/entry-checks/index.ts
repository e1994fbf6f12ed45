import { FIELD_KIND } from "../vmcs-layout.js";
import { CONTROL_CHECKS } from "./controls.js";
import { Checked, type CheckEnvironment, type EntryCheck } from "./checked.js";
import { GUEST_CHECKS, PDPTE_CHECKS } from "./guest-state.js";
import { HOST_CHECKS } from "./host-state.js";

export { CONTROL_CHECKS } from "./controls.js";
export { GUEST_CHECKS, PDPTE_CHECKS } from "./guest-state.js";
export { HOST_CHECKS } from "./host-state.js";
export { Checked, type CheckEnvironment, type EntryCheck };

/** The rows of `checks` to look at, by the mask of kinds of field that software wrote. */
const byWritten = (checks: readonly EntryCheck[]): readonly (readonly EntryCheck[])[] =>
  Array.from({ length: FIELD_KIND.ALL + 1 }, (_, written) => checks.filter((check) => (check.reads & written) !== 0));

const CONTROL_ROWS = byWritten(CONTROL_CHECKS);
const HOST_ROWS = byWritten(HOST_CHECKS);
const GUEST_ROWS = byWritten(GUEST_CHECKS);

function first(rows: readonly EntryCheck[] | undefined, c: Checked): EntryCheck | undefined {
  if (rows !== undefined) for (const row of rows) if (row.violated(c)) return row;
  return undefined;
}

/** The first rule on control fields that does not hold, of those that read a kind of field in `written`. */
export const violatedControlCheck = (c: Checked, written: number): EntryCheck | undefined =>
  first(CONTROL_ROWS[written], c);

export const violatedHostCheck = (c: Checked, written: number): EntryCheck | undefined => first(HOST_ROWS[written], c);

/** What the processor saved itself may come into force anew in an interrupt shadow, so flow is always looked at. */
export const violatedGuestCheck = (c: Checked, written: number): EntryCheck | undefined =>
  first(GUEST_ROWS[written | FIELD_KIND.FLOW], c);

export const violatedPdpteCheck = (c: Checked): EntryCheck | undefined => first(PDPTE_CHECKS, c);
