export { parseElf, type ElfFile } from "./elf.js";
export {
  IMAGE_FORMATS, ImageError, flatSegment, installImage, placeSegments,
  type BootState, type GuestImage, type ImageFormat, type ImageSegment,
} from "./image.js"; // prettier-ignore
export { detectFormat, loadImage, type LoadOptions } from "./load.js";
export { loadMultiboot, type MultibootModule, type MultibootOptions } from "./multiboot.js";
export { BELOW_4G_END, LOWER_MEMORY_END, memoryMap, type MemoryRange } from "./multiboot-info.js";
export { loadLongMode, loadRealMode, type RawOptions } from "./raw.js";
