import { dword, reg } from "@tapvisor/x86-isa";
import { DATA } from "./image.mjs";

const [SOURCE, TARGET] = [DATA, DATA + 0x2_0000];
const BLOCK = 16_384;
const NAME = 24;
const NAMES = 400;

/** What C's memcpy, memset and short structure copies become: REP MOVSD, REP STOSB, REP MOVSB. */
export const strings = {
  name: "string moves",
  expected: expected(),
  repeat: 64,
  write(a, r) {
    const { eax, ecx } = reg;
    const word = (base, index) => dword({ base, index, scale: 4 });
    // memset, then a mark in every 64th word.
    a.mov(r.di, SOURCE).mov(eax, 0x5a).mov(ecx, BLOCK).rep().stosb();
    a.xor(ecx, ecx).mov(r.si, SOURCE);
    a.label("mark").mov(word(r.si, r.cx), ecx).add(r.cx, 64).cmp(r.cx, BLOCK / 4).jb("mark"); // prettier-ignore
    // memcpy to another page offset, and the same again from there.
    a.mov(r.di, TARGET + 20)
      .mov(r.si, SOURCE)
      .mov(ecx, BLOCK / 4)
      .rep()
      .movsd();
    a.mov(r.di, TARGET + 0x8000)
      .mov(r.si, TARGET + 20)
      .mov(ecx, BLOCK / 4)
      .rep()
      .movsd();
    // Many short ones.
    a.xor(reg.ebx, reg.ebx).mov(r.di, TARGET + 0x1_0000);
    a.label("names").mov(r.si, SOURCE).add(r.si, r.bx).mov(ecx, NAME).rep().movsb();
    a.add(r.bx, 4)
      .cmp(r.bx, NAMES * 4)
      .jne("names");
    // The sum of all that was written.
    a.xor(eax, eax)
      .xor(ecx, ecx)
      .mov(r.si, TARGET + 0x8000);
    a.label("sum")
      .add(eax, word(r.si, r.cx))
      .rol(eax, 1)
      .add(r.cx, 1)
      .cmp(r.cx, BLOCK / 4)
      .jne("sum");
    a.xor(ecx, ecx).mov(r.si, TARGET + 0x1_0000);
    a.label("more").add(eax, word(r.si, r.cx)).rol(eax, 1).add(r.cx, 1).cmp(r.cx, (NAME * NAMES) / 4).jne("more"); // prettier-ignore
    a.ret();
  },
};

function expected() {
  const source = new Uint8Array(BLOCK).fill(0x5a);
  const words = new Uint32Array(source.buffer);
  for (let i = 0; i < BLOCK / 4; i += 64) words[i] = i;
  const names = new Uint8Array(NAME * NAMES);
  for (let i = 0; i < NAMES; i++) names.set(source.subarray(i * 4, i * 4 + NAME), i * NAME);
  let sum = 0;
  for (const word of [...words, ...new Uint32Array(names.buffer)]) {
    const added = (sum + word) >>> 0;
    sum = ((added << 1) | (added >>> 31)) >>> 0;
  }
  return sum;
}
