import { dword, reg } from "@tapvisor/x86-isa";
import { DATA } from "./image.mjs";

const COUNT = 4096;

function checksum() {
  const words = new Int32Array(COUNT);
  let x = 1;
  for (let i = 0; i < COUNT; i++) words[i] = x = (Math.imul(x, 1103515245) + 12345) | 0;
  words.sort();
  return words.reduce((sum, word) => (Math.imul(sum, 31) + word) | 0, 0) >>> 0;
}

/** Quicksort of signed words, recursive: calls, stack frames, branches that nobody can predict. */
export const sort = {
  name: "sort",
  expected: checksum(),
  repeat: 16,
  write(a, r, bits) {
    const { eax, edx } = reg;
    const pointer = bits >> 3;
    const word = (base, index) => dword({ base, index, scale: 4 });
    a.mov(r.si, DATA).mov(eax, 1).xor(reg.ecx, reg.ecx);
    a.label("fill").imul(eax, eax, 1103515245).add(eax, 12345).mov(word(r.si, r.cx), eax);
    a.add(r.cx, 1).cmp(r.cx, COUNT).jne("fill");
    a.push(r.bp)
      .mov(r.ax, DATA + COUNT * 4 - 4)
      .push(r.ax)
      .mov(r.ax, DATA)
      .push(r.ax)
      .call("quicksort");
    a.add(r.sp, pointer * 2).pop(r.bp);
    a.mov(r.si, DATA).xor(eax, eax).xor(reg.ecx, reg.ecx);
    a.label("sum").mov(edx, eax).shl(eax, 5).sub(eax, edx).add(eax, word(r.si, r.cx));
    a.add(r.cx, 1).cmp(r.cx, COUNT).jne("sum").ret();

    // quicksort(first, last): pointers to the first and the last word.
    a.align(16).label("quicksort").push(r.bp).mov(r.bp, r.sp).push(r.si).push(r.di).push(r.bx);
    const argument = (n) => ({ base: r.bp, disp: pointer * (2 + n) });
    a.mov(r.si, { kind: "memory", size: pointer, parts: argument(0) });
    a.mov(r.di, { kind: "memory", size: pointer, parts: argument(1) });
    a.cmp(r.si, r.di).jae("sorted");
    a.mov(r.dx, r.di)
      .sub(r.dx, r.si)
      .shr(r.dx, 1)
      .and(r.dx, -4)
      .mov(edx, dword({ base: r.si, index: r.dx }));
    a.label("up").mov(eax, dword(r.si)).cmp(eax, edx).jge("down").add(r.si, 4).jmp("up");
    a.label("down").mov(reg.ecx, dword(r.di)).cmp(reg.ecx, edx).jle("met").sub(r.di, 4).jmp("down");
    a.label("met").cmp(r.si, r.di).ja("split");
    a.mov(dword(r.si), reg.ecx).mov(dword(r.di), eax).add(r.si, 4).sub(r.di, 4).cmp(r.si, r.di).jbe("up");
    a.label("split")
      .push(r.di)
      .push({ kind: "memory", size: pointer, parts: argument(0) })
      .call("quicksort");
    a.add(r.sp, pointer * 2);
    a.push({ kind: "memory", size: pointer, parts: argument(1) })
      .push(r.si)
      .call("quicksort")
      .add(r.sp, pointer * 2);
    a.label("sorted").pop(r.bx).pop(r.di).pop(r.si).pop(r.bp).ret();
  },
};
