import type { BoardModel } from "@tapvisor/kvm-core/contract";
import { KUT_BOARD } from "./kut.js";
import { PLACES, STOCK_BOARD } from "./stock.js";

export { KUT_BOARD, PLACES, STOCK_BOARD };

/** Every board by its name, the default first. */
export const BOARD_MODELS: readonly BoardModel[] = [STOCK_BOARD, KUT_BOARD];
