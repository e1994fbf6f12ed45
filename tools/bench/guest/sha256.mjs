import { createHash } from "node:crypto";
import { dword, reg } from "@tapvisor/x86-isa";
import { DATA } from "./image.mjs";

const BLOCKS = 64;
const [MESSAGE, STATE, SCHEDULE] = [DATA, DATA + 0x1_0000, DATA + 0x1_1000];

const fraction = (root) => Math.floor((root - Math.floor(root)) * 2 ** 32);
const primes = (count) => {
  const found = [];
  for (let n = 2; found.length < count; n++) if (found.every((p) => n % p !== 0)) found.push(n);
  return found;
};
const INITIAL = primes(8).map((p) => fraction(Math.sqrt(p)));
const ROUND = primes(64).map((p) => fraction(Math.cbrt(p)));

/** The guest's message: words of a linear congruential generator, big-endian, without padding at the end. */
function message() {
  const bytes = Buffer.alloc(BLOCKS * 64 - 64);
  for (let i = 0, x = 1; i < bytes.length; i += 4)
    bytes.writeUInt32BE((x = (Math.imul(x, 1664525) + 1013904223) >>> 0), i);
  return bytes;
}

/** SHA-256 of 63 blocks and their padding, eight rounds unrolled: rotates, logic, additions, spilled variables. */
export const sha256 = {
  name: "SHA-256",
  expected: createHash("sha256").update(message()).digest().readUInt32BE(0),
  repeat: 16,
  write(a, r) {
    const { eax, ebx, ecx, edx, edi } = reg;
    const table = (base, index, disp) => dword({ base, index, scale: 4, disp });
    // The message as words, then its padding: a bit, zeros, the length in bits.
    a.mov(r.si, MESSAGE).mov(eax, 1).xor(ecx, ecx);
    a.label("fill").imul(eax, eax, 1664525).add(eax, 1013904223).mov(table(r.si, r.cx), eax);
    a.add(r.cx, 1)
      .cmp(r.cx, BLOCKS * 16 - 16)
      .jne("fill");
    a.mov(dword(r.si, BLOCKS * 64 - 64), 0x8000_0000);
    for (let i = 1; i < 15; i++) a.mov(dword(r.si, BLOCKS * 64 - 64 + i * 4), 0);
    a.mov(dword(r.si, BLOCKS * 64 - 4), (BLOCKS - 1) * 512);
    INITIAL.forEach((word, i) => a.mov(dword(DATA + 0x1_0000 + i * 4), word));
    a.mov(reg.ebp, MESSAGE);
    a.label("block").mov(r.di, SCHEDULE).xor(ecx, ecx);
    a.label("copy").mov(eax, table(r.bp, r.cx)).mov(table(r.di, r.cx), eax).add(r.cx, 1).cmp(r.cx, 16).jne("copy");
    a.label("expand")
      .mov(eax, table(r.di, r.cx, -60))
      .mov(ebx, eax)
      .mov(edx, eax);
    a.ror(eax, 7).ror(ebx, 18).shr(edx, 3).xor(eax, ebx).xor(eax, edx);
    a.add(eax, table(r.di, r.cx, -64)).add(eax, table(r.di, r.cx, -28));
    a.mov(edx, table(r.di, r.cx, -8))
      .mov(ebx, edx)
      .mov(reg.esi, edx);
    a.ror(edx, 17).ror(ebx, 19).shr(reg.esi, 10).xor(edx, ebx).xor(edx, reg.esi).add(eax, edx);
    a.mov(table(r.di, r.cx), eax).add(r.cx, 1).cmp(r.cx, 64).jne("expand");
    // Eight working variables on the stack, that take each other's names in turn.
    a.sub(r.sp, 32);
    for (let i = 0; i < 8; i++) a.mov(eax, dword(STATE + i * 4)).mov(dword(r.sp, i * 4), eax);
    a.xor(reg.esi, reg.esi);
    a.label("rounds");
    for (let round = 0; round < 8; round++) {
      const variable = (name) => dword(r.sp, (("abcdefgh".indexOf(name) - round + 8) % 8) * 4);
      a.mov(eax, variable("e")).mov(ecx, eax).mov(edx, eax).mov(ebx, eax);
      a.ror(ecx, 6).ror(edx, 11).xor(ecx, edx).ror(ebx, 25).xor(ecx, ebx);
      a.mov(edx, variable("f")).mov(ebx, variable("g")).xor(edx, ebx).and(edx, eax).xor(edx, ebx).add(ecx, edx);
      a.add(ecx, variable("h"))
        .mov(r.di, "constants")
        .add(ecx, table(r.di, r.si, round * 4));
      a.mov(r.di, SCHEDULE).add(ecx, table(r.di, r.si, round * 4));
      a.add(variable("d"), ecx);
      a.mov(eax, variable("a")).mov(edx, eax).mov(ebx, eax).ror(edx, 2).ror(ebx, 13).xor(edx, ebx);
      a.ror(ebx, 9).xor(edx, ebx).mov(ebx, eax).mov(edi, variable("b")).or(ebx, edi).and(eax, edi);
      a.and(ebx, variable("c")).or(eax, ebx).add(edx, eax).add(edx, ecx).mov(variable("h"), edx);
    }
    a.add(r.si, 8).cmp(r.si, 64).jb("rounds");
    for (let i = 0; i < 8; i++) a.mov(eax, dword(r.sp, i * 4)).add(dword(STATE + i * 4), eax);
    a.add(r.sp, 32);
    a.add(r.bp, 64)
      .cmp(r.bp, MESSAGE + BLOCKS * 64)
      .jne("block");
    a.mov(eax, dword(STATE)).ret();
    a.align(16)
      .label("constants")
      .dd(...ROUND);
  },
};
