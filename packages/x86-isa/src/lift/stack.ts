import { Mnemonic } from "../decode/iced.js";
import { segmentRegister } from "../decode/registers.js";
import { bitsOf } from "../uops/definition.js";
import { RBP, RSP, type Builder, type Value } from "./builder.js";
import type { Family, Lifter } from "./family.js";
import { selectorOf } from "./moves.js";

/** Operand size of a stack instruction: of its operand, or of its mode where it has none. */
function stackOperandSize(b: Builder): 2 | 4 | 8 {
  const { operandSize, bitness } = b.instruction;
  return operandSize !== 0 ? operandSize : ((bitness >> 3) as 2 | 4 | 8);
}

const push: Lifter = (b) => {
  const operand = b.operand(0);
  const size = stackOperandSize(b);
  const segment = operand.kind === "register" ? segmentRegister(operand.register) : -1;
  if (segment < 0) {
    b.push(size, b.read(operand));
    return;
  }
  // With 32-bit operands processors write the low 16 bits of the slot alone (SDM vol. 2, "PUSH", IA-32 Architecture
  // Compatibility); with 64-bit operands the selector is zero-extended.
  const selector = selectorOf(b, segment);
  const top = b.stackOffset(-BigInt(size));
  b.storeStack(top, size === 4 ? 2 : size, selector);
  b.setStackPointer(top);
};

const pop: Lifter = (b) => {
  const operand = b.operand(0);
  const size = stackOperandSize(b);
  if (operand.kind === "memory") {
    const value = b.loadTop(size);
    // An address through the stack pointer sees it after the increment (SDM vol. 2, "POP").
    const old = b.copy(b.register(RSP));
    b.moveStackPointer(BigInt(size));
    const offset = b.copy(b.effectiveAddress(operand));
    const next = b.copy(b.register(RSP));
    b.move(b.register(RSP), old);
    b.store(b.linear(operand.segment, offset, size, true), size, value);
    b.move(b.register(RSP), next);
  } else if (operand.kind === "register") {
    const whole = b.wholeRegister(operand.register);
    if (whole !== undefined && whole !== b.register(RSP)) {
      b.loadTop(size, whole);
      b.moveStackPointer(BigInt(size));
      return;
    }
    // POP into the stack pointer: what was popped wins over the increment.
    const value = b.loadTop(size);
    b.moveStackPointer(BigInt(size));
    b.writeRegister(operand.register, value);
  }
};

const PUSH_ALL = [0, 1, 2, 3, 4, 5, 6, 7] as const;

const pusha: Lifter = (b) => {
  const size = stackOperandSize(b);
  const first = b.mark();
  for (const index of PUSH_ALL) {
    b.release(first);
    b.storeStack(b.stackOffset(-BigInt(size * (index + 1))), size, b.register(index));
  }
  b.release(first);
  b.setStackPointer(b.stackOffset(-BigInt(size * 8)));
};

const popa: Lifter = (b) => {
  const size = stackOperandSize(b);
  // Everything that may fault first. The slot of the stack pointer is skipped.
  const values = PUSH_ALL.map((index) => (index === RSP ? 0 : b.temp()));
  const first = b.mark();
  for (const index of PUSH_ALL) {
    b.release(first);
    const at = b.linear(2, b.stackOffset(BigInt(size * (7 - index))), size, false);
    const d = values[index];
    if (d !== undefined && index !== RSP) b.load(at, size, false, d);
  }
  b.release(first);
  for (const index of PUSH_ALL) if (index !== RSP) b.setRegister(index, size, values[index] ?? 0);
  b.setStackPointer(b.stackOffset(BigInt(size * 8)));
};

const enter: Lifter = (b) => {
  const size = stackOperandSize(b);
  const [allocated, nesting] = [b.operand(0), b.operand(1)].map((operand) =>
    operand.kind === "immediate" ? operand.value : 0n,
  );
  const level = Number((nesting ?? 0n) & 31n);
  const frame = b.stackOffset(-BigInt(size));
  b.storeStack(frame, size, b.register(RBP));
  const first = b.mark();
  for (let n = 1; n < level; n++) {
    b.release(first);
    const from = framePointer(b, -BigInt(size * n));
    const value = b.loadStack(from, size);
    b.storeStack(b.stackOffset(-BigInt(size * (n + 1))), size, value);
  }
  b.release(first);
  if (level > 0) b.storeStack(b.stackOffset(-BigInt(size * (level + 1))), size, frame);
  b.release(first);
  const pushed = BigInt(size * (level > 0 ? level + 1 : 1));
  const top = b.stackOffset(-(pushed + (allocated ?? 0n)));
  // A write through the new stack pointer must be possible (SDM vol. 2, "ENTER").
  b.load(b.linear(2, top, size, true), size, true);
  b.setRegister(RBP, size, frame);
  b.setStackPointer(top);
};

/** RBP plus a constant, cut to the stack-address size. */
function framePointer(b: Builder, bytes: bigint): number {
  const d = b.temp();
  b.emit(`addi${bitsOf(b.mode.stackBytes)}nf`, { d, a: b.register(RBP), imm: bytes });
  return d;
}

const leave: Lifter = (b) => {
  const size = stackOperandSize(b);
  const frame = framePointer(b, 0n);
  const value: Value = b.loadStack(frame, size);
  b.setStackPointer(framePointer(b, BigInt(size)));
  b.setRegister(RBP, size, value);
};

export const STACK: Family = {
  [Mnemonic.Push]: push,
  [Mnemonic.Pop]: pop,
  [Mnemonic.Pusha]: pusha,
  [Mnemonic.Pushad]: pusha,
  [Mnemonic.Popa]: popa,
  [Mnemonic.Popad]: popa,
  [Mnemonic.Enter]: enter,
  [Mnemonic.Leave]: leave,
};
