/** KVM_MAX_MCE_BANKS. */
export const MCE_BANKS = 32;
