import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseElf } from "../../src/loaders/elf.js";
import { ImageError } from "../../src/loaders/image.js";
import { buildElf, FIRST_LOAD_OFFSET } from "./elf-builder.js";

const data = Uint8Array.from({ length: 64 }, (_, i) => i);
const good = () => buildElf({ loads: [{ paddr: 0x100000, data, memsz: 0x1000 }] });

/** The good file with one field overwritten. */
function broken(offset: number, value: number, size: 2 | 4 = 4): Uint8Array {
  const bytes = good();
  const view = new DataView(bytes.buffer);
  if (size === 2) view.setUint16(offset, value, true);
  else view.setUint32(offset, value, true);
  return bytes;
}

function refusal(bytes: Uint8Array): ImageError {
  try {
    parseElf(bytes);
  } catch (error) {
    if (error instanceof ImageError) return error;
    throw error;
  }
  throw new Error("the file was accepted");
}

describe("what the ELF parser refuses, naming the field, its value and the rule", () => {
  const phdr = 52;
  const cases: [string, Uint8Array, string, string, RegExp][] = [
    ["no ELF magic", broken(0, 0x464c457e), "e_ident[EI_MAG0..3]", "0x464c457e", /0x7f 'E' 'L' 'F'/],
    ["an unknown class", broken(4, 0x010103, 4), "e_ident[EI_CLASS]", "0x3", /1 \(32 bits\) or 2/],
    ["big-endian data", broken(4, 0x010201, 4), "e_ident[EI_DATA]", "0x2", /little-endian/],
    ["a shared object", broken(16, 3, 2), "e_type", "0x3", /ET_EXEC/],
    ["another machine", broken(18, 183, 2), "e_machine", "0xb7", /EM_386/],
    ["no program headers", broken(44, 0, 2), "e_phnum", "0x0", /1 to/],
    ["too many program headers", broken(44, 0xffff, 2), "e_phnum", "0xffff", /1 to/],
    ["program headers of another size", broken(42, 56, 2), "e_phentsize", "0x38", /must be 32/],
    ["a program header table beyond the file", broken(28, 0x130), "end of the program header table", "0x150", /within the file of 320/],
    ["a segment whose data is cut off", good().subarray(0, FIRST_LOAD_OFFSET + 63), "end of program header 0 (p_offset + p_filesz)", "0x140", /within the file of 319/],
    ["a segment with more data than memory", broken(phdr + 20, 63), "p_filesz of program header 0", "0x40", /must not exceed p_memsz, 0x3f/],
    ["no segment to load", broken(phdr, 4), "number of PT_LOAD program headers", "0x0", /at least 1/],
    ["an entry point outside all segments", broken(24, 0x101000), "e_entry", "0x101000", /within a PT_LOAD segment/],
  ]; // prettier-ignore
  for (const [name, bytes, field, value, rule] of cases) {
    it(name, () => {
      const error = refusal(bytes);
      expect([error.field, error.value]).toEqual([field, value]);
      expect(error.rule).toMatch(rule);
      expect(error.message).toBe(`ENOEXEC: ${field} is ${value}: ${error.rule}, load`);
    });
  }

  it("a physical address of more than 52 bits", () => {
    const bytes = buildElf({ bits: 64, machine: 62, loads: [{ paddr: 0x100000, data }] });
    new DataView(bytes.buffer).setBigUint64(64 + 24, 1n << 52n, true);
    expect(refusal(bytes).field).toBe("p_paddr of program header 0");
  });

  it("a file cut anywhere", () => {
    const whole = good();
    for (let length = 0; length < whole.length; length++) {
      expect(() => parseElf(whole.subarray(0, length))).toThrow(ImageError);
    }
  });

  it("whatever else is wrong, by an ImageError and nothing else", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(32, 64),
        fc.array(fc.tuple(fc.nat(0x7f), fc.nat(255)), { maxLength: 6 }),
        (bits, edits) => {
          const bytes = buildElf({ bits: bits === 64 ? 64 : 32, loads: [{ paddr: 0x100000, data }] });
          for (const [at, value] of edits) bytes[at] = value;
          try {
            parseElf(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(ImageError);
          }
        },
      ),
    );
  });
});

describe("what the ELF parser reads", () => {
  it.each([32, 64] as const)("segments and entry of an ELF%i file", (bits) => {
    const file = parseElf(buildElf({ bits, entry: 0x100010n, loads: [{ paddr: 0x100000, data, memsz: 0x1000 }, { paddr: 0x300000, data }] })); // prettier-ignore
    expect(file.bits).toBe(bits);
    expect(file.entry).toBe(0x100010);
    expect(file.segments.map(({ address, size, data }) => [address, size, data.length])).toEqual([
      [0x100000, 0x1000, 64],
      [0x300000, 64, 64],
    ]);
    expect(file.segments[1]?.data).toEqual(data);
  });

  it("maps the entry point of a higher-half kernel to its physical address, exactly", () => {
    const base = 0xffff_ffff_8010_0000n;
    const file = parseElf(buildElf({ bits: 64, machine: 62, entry: base + 0x13n, loads: [{ paddr: 0x100000, vaddr: base, data }] })); // prettier-ignore
    expect(file.entry).toBe(0x100013);
  });
});
