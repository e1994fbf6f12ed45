import { Assembler, mem, reg } from "@tapvisor/x86-isa";

const { eax, ebx, ecx, rax, rbx, rcx, rdi, rdx, r8, r9 } = reg;

const BUFFER = 0x20_0000;

/**
 * Integer work without an exit, as compilers make it: a sieve's inner loops, hashing with multiplications and rotates,
 * sums over memory, a recursive call.
 */
export function integerGuest() {
  const a = new Assembler(64);
  a.label("again");
  a.mov(rdi, BUFFER).mov(ecx, 4096).mov(rax, 0x9e3779b97f4a7c15n);
  a.label("hash").imul(rax, rax, 0x5bd1e995).rol(rax, 13).xor(rax, rcx);
  a.mov(mem({ base: rdi, index: rcx, scale: 8 }), rax)
    .dec(rcx)
    .jne("hash");
  a.mov(ecx, 4096).xor(r8, r8).xor(r9, r9);
  a.label("sum")
    .mov(rbx, mem({ base: rdi, index: rcx, scale: 8 }))
    .add(r8, rbx)
    .test(rbx, 1)
    .je("even")
    .inc(r9);
  a.label("even").dec(rcx).jne("sum");
  a.mov(ebx, 12).call("fibonacci").jmp("again");
  // EAX = the EBX-th Fibonacci number.
  a.label("fibonacci").cmp(ebx, 2).jae("recurse").mov(eax, ebx).ret();
  a.label("recurse").push(rbx).dec(ebx).call("fibonacci").pop(rbx).push(rax).push(rbx).sub(ebx, 2).call("fibonacci");
  a.pop(rbx).pop(rdx).add(rax, rdx).ret();
  return a;
}
