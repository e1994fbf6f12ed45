/** Sizes of pages as powers of two (SDM vol. 3, "Paging"): 4 KiB, 2 MiB, 4 MiB (32-bit paging alone), 1 GiB. */
export const PAGE_SHIFT = 12;
export const PAGE_2MB_SHIFT = 21;
export const PAGE_4MB_SHIFT = 22;
export const PAGE_1GB_SHIFT = 30;

/** Bytes of the smallest page. */
export const PAGE_SIZE = 2 ** PAGE_SHIFT;
/** The bits of an address within such a page. */
export const PAGE_OFFSET_MASK = PAGE_SIZE - 1;
