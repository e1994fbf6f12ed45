import { byte, mem, reg } from "@tapvisor/x86-isa";
import { DATA } from "./image.mjs";

const LIMIT = 100_000;

function primesBelow(limit) {
  const composite = new Uint8Array(limit);
  let count = 0;
  for (let i = 2; i < limit; i++) {
    if (composite[i] !== 0) continue;
    count++;
    for (let j = i + i; j < limit; j += i) composite[j] = 1;
  }
  return count;
}

/** The sieve of Eratosthenes over bytes: short loops, byte stores, well predicted branches. */
export const sieve = {
  name: "sieve",
  expected: primesBelow(LIMIT),
  repeat: 8,
  write(a, r) {
    const { eax } = reg;
    a.mov(r.si, DATA).xor(reg.ecx, reg.ecx);
    a.label("clear")
      .mov(byte({ base: r.si, index: r.cx }), 0)
      .add(r.cx, 1)
      .cmp(r.cx, LIMIT)
      .jne("clear");
    a.xor(eax, eax).mov(reg.ebx, 2);
    a.label("number")
      .cmp(byte({ base: r.si, index: r.bx }), 0)
      .jne("next");
    a.add(eax, 1)
      .lea(r.cx, mem({ base: r.bx, index: r.bx }))
      .cmp(r.cx, LIMIT - 1)
      .ja("next");
    a.label("strike")
      .mov(byte({ base: r.si, index: r.cx }), 1)
      .add(r.cx, r.bx)
      .cmp(r.cx, LIMIT - 1)
      .jbe("strike");
    a.label("next").add(r.bx, 1).cmp(r.bx, LIMIT).jne("number");
    a.ret();
  },
};
