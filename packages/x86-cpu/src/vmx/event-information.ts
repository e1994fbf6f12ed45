import { INTR_INFO, INTR_INFO_TYPE_SHIFT, INTR_TYPE } from "@tapvisor/x86-isa";

/** The interruption type (`INTR_TYPE`, or the reserved 1) in an interruption-information field. */
export const interruptionType = (information: number): number =>
  (information & INTR_INFO.TYPE) >>> INTR_INFO_TYPE_SHIFT;

/** The event comes from an instruction, whose length goes with it. */
export const isSoftwareType = (type: number): boolean =>
  type === INTR_TYPE.SOFT_INTR || type === INTR_TYPE.PRIV_SW_EXCEPTION || type === INTR_TYPE.SOFT_EXCEPTION;
