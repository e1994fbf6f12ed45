import { dword, reg } from "@tapvisor/x86-isa";
import { DATA } from "./image.mjs";

/** A page and a cache line: each access is to another page, and to another line of it. */
const STRIDE = 4096 + 64;
const ACCESSES = 4096;
const PASSES = 4;

/** Reads and writes through 16 MiB, each in another page than the one before: what a TLB is for. */
export const pages = {
  name: "page strides",
  expected: (ACCESSES * PASSES * (PASSES + 1)) / 2,
  repeat: 64,
  write(a, r) {
    const { eax, ecx, edx } = reg;
    a.mov(r.di, DATA).mov(ecx, ACCESSES);
    a.label("clear").mov(dword(r.di), 0).add(r.di, STRIDE).sub(ecx, 1).jne("clear");
    a.xor(eax, eax).mov(edx, PASSES);
    a.label("pass").mov(r.di, DATA).mov(ecx, ACCESSES);
    a.label("walk").mov(reg.ebx, dword(r.di)).add(reg.ebx, 1).mov(dword(r.di), reg.ebx).add(eax, reg.ebx);
    a.add(r.di, STRIDE).sub(ecx, 1).jne("walk").sub(edx, 1).jne("pass").ret();
  },
};
