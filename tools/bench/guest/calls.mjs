import { mem, reg } from "@tapvisor/x86-isa";

const COUNT = 20_000;

/** What the eight functions make of a sum and a number. */
const FUNCTIONS = [
  { js: (x, n) => x + n, write: (a) => a.add(reg.eax, reg.edx) },
  { js: (x, n) => x - n, write: (a) => a.sub(reg.eax, reg.edx) },
  { js: (x, n) => x ^ n, write: (a) => a.xor(reg.eax, reg.edx) },
  { js: (x, n) => x + (n << 1), write: (a, r) => a.lea(reg.eax, mem({ base: r.ax, index: r.dx, scale: 2 })) },
  { js: (x, n) => Math.imul(x, 5) + n, write: (a) => a.imul(reg.eax, reg.eax, 5).add(reg.eax, reg.edx) },
  { js: (x, n) => x + (n >>> 3), write: (a) => a.shr(reg.edx, 3).add(reg.eax, reg.edx) },
  { js: (x, n) => ~x + n, write: (a) => a.not(reg.eax).add(reg.eax, reg.edx) },
  { js: (x, n) => (n & 1 ? x - 1 : x + 7), write: (a) => a.test(reg.edx, 1).je("add7").sub(reg.eax, 1).ret().label("add7").add(reg.eax, 7) },
]; // prettier-ignore

const next = (n) => (Math.imul(n, 1664525) + 1013904223) >>> 0;

function result() {
  let [x, n] = [0, 1];
  for (let i = 0; i < COUNT; i++) {
    n = next(n);
    x = FUNCTIONS[n >>> 29].js(x, n) | 0;
  }
  return x >>> 0;
}

/** Calls through a table of functions, in an order that a generator makes: as methods and interpreters do. */
export const calls = {
  name: "indirect calls",
  expected: result(),
  repeat: 16,
  write(a, r, bits) {
    const { eax, edx, ecx } = reg;
    a.xor(eax, eax).mov(reg.esi, 1).mov(reg.ebx, COUNT).mov(r.di, "table");
    a.label("loop")
      .imul(reg.esi, reg.esi, 1664525)
      .add(reg.esi, 1013904223)
      .mov(edx, reg.esi)
      .mov(ecx, edx)
      .shr(ecx, 29);
    a.call({ kind: "memory", size: bits >> 3, parts: { base: r.di, index: r.cx, scale: bits >> 3 } });
    a.sub(reg.ebx, 1).jne("loop").ret();
    FUNCTIONS.forEach(({ write }, i) => {
      a.align(16).label(`function${i}`).push(r.bp).mov(r.bp, r.sp);
      a.pop(r.bp);
      write(a, r);
      a.ret();
    });
    const names = FUNCTIONS.map((_, i) => `function${i}`);
    a.align(8).label("table");
    if (bits === 64) a.dq(...names);
    else a.dd(...names);
  },
};
