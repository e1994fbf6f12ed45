import type { MachineModel } from "@tapvisor/kvm-core/contract";
import { KUT_MACHINE } from "./kut.js";
import { PLACES, STOCK_MACHINE } from "./stock.js";

export { KUT_MACHINE, PLACES, STOCK_MACHINE };

/** Every model of a machine, the default first. */
export const MACHINE_MODELS: readonly MachineModel[] = [STOCK_MACHINE, KUT_MACHINE];
