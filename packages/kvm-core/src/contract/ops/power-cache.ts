import { op } from "../op.js";

export const POWER_CACHE_OPS = {
  has_wbinvd_exit: op<() => boolean>()({
    args: [],
    context: "preempt-off",
    hot: false,
    result: "boolean",
    returns: "exits: WBINVD of a guest exits",
    summary: "Ask whether WBINVD of a guest exits.",
  }),
};
