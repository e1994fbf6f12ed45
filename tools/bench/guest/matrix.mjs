import { qword, reg } from "@tapvisor/x86-isa";
import { DATA } from "./image.mjs";

const SIZE = 32;
const ROW = SIZE * 8;
const [A, B, C] = [DATA, DATA + 0x1_0000, DATA + 0x2_0000];

function trace() {
  let sum = 0;
  const a = (i, j) => (i * SIZE + j) * 0.5;
  const b = (i, j) => (i * SIZE + j) * 0.25 - 100;
  for (let i = 0; i < SIZE; i++) {
    let cell = 0;
    for (let k = 0; k < SIZE; k++) cell += a(i, k) * b(k, i);
    sum += cell;
  }
  return Math.trunc(sum) >>> 0;
}

/** C = A * B of doubles with SSE2, one cell after another; the result is the trace of C. */
export const matrix = {
  name: "matrix",
  expected: trace(),
  repeat: 32,
  sse: true,
  write(a, r) {
    const { eax, ecx, xmm0, xmm1, xmm2 } = reg;
    const cell = (base, index) => qword({ base, index, scale: 8 });
    a.mov(r.si, A).mov(r.di, B).xor(ecx, ecx);
    a.label("fill").pxor(xmm0, xmm0).cvtsi2sd(xmm0, ecx).movapd(xmm1, xmm0);
    a.mulsd(xmm0, qword("half")).mulsd(xmm1, qword("quarter")).subsd(xmm1, qword("hundred"));
    a.movsd(cell(r.si, r.cx), xmm0).movsd(cell(r.di, r.cx), xmm1);
    a.add(r.cx, 1)
      .cmp(r.cx, SIZE * SIZE)
      .jne("fill");
    a.mov(r.bx, C).mov(r.si, A).xor(reg.ebp, reg.ebp);
    a.label("row").xor(reg.edi, reg.edi);
    a.label("column")
      .pxor(xmm1, xmm1)
      .xor(eax, eax)
      .lea(r.dx, qword({ index: r.di, scale: 8, disp: B }));
    a.label("product").movsd(xmm0, cell(r.si, r.ax)).mulsd(xmm0, qword(r.dx)).addsd(xmm1, xmm0);
    a.add(r.ax, 1).add(r.dx, ROW).cmp(r.ax, SIZE).jne("product");
    a.movsd(cell(r.bx, r.di), xmm1).add(r.di, 1).cmp(r.di, SIZE).jne("column");
    a.add(r.bx, ROW).add(r.si, ROW).add(r.bp, 1).cmp(r.bp, SIZE).jne("row");
    a.pxor(xmm2, xmm2).mov(r.bx, C).mov(ecx, SIZE);
    a.label("trace")
      .addsd(xmm2, qword(r.bx))
      .add(r.bx, ROW + 8)
      .sub(ecx, 1)
      .jne("trace");
    a.cvttsd2si(eax, xmm2).ret();
    a.align(8);
    for (const [name, value] of [
      ["half", 0.5],
      ["quarter", 0.25],
      ["hundred", 100],
    ]) {
      a.label(name).db(new Uint8Array(new Float64Array([value]).buffer));
    }
  },
};
