import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { calls } from "../guest/calls.mjs";
import { EXIT_LOOPS, instructionsAnExit } from "../guest/exit-loops.mjs";
import { longModeImage, MEMORY_SIZE } from "../guest/image.mjs";
import { integerGuest } from "../guest/integer.mjs";
import { matrix } from "../guest/matrix.mjs";
import { pages } from "../guest/pages.mjs";
import { sha256 } from "../guest/sha256.mjs";
import { sieve } from "../guest/sieve.mjs";
import { sort } from "../guest/sort.mjs";
import { strings } from "../guest/strings.mjs";

const KERNELS = { sieve, sha256, sort, matrix, calls, strings, pages };
const ADDRESS = 0x10000;

/**
 * Write the guests of figures into a folder, for both sides to run the same bytes: what measure-guests.mjs reads. The
 * assembler is that of the working tree.
 */
export function writeGuests(figures, folder) {
  return figures.map((figure) => {
    const { bytes, address } = imageOf(figure);
    const file = join(folder, `${figure.id}.bin`);
    writeFileSync(file, bytes);
    const turn = figure.kind === undefined ? 1 : instructionsAnExit(figure.kind);
    return { id: figure.id, file, address, memorySize: MEMORY_SIZE, turn, ...figure.run };
  });
}

function imageOf({ id, kind }) {
  if (Object.hasOwn(KERNELS, id)) return longModeImage(KERNELS[id]);
  const guest = kind === undefined ? integerGuest() : EXIT_LOOPS[kind];
  return { bytes: guest.assemble(ADDRESS).bytes, address: ADDRESS };
}
