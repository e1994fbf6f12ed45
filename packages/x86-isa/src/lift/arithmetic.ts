import { Mnemonic } from "../decode/iced.js";
import { bitsOf } from "../uops/definition.js";
import type { BinaryName } from "../uops/names.js";
import type { Family, Lifter } from "./family.js";

/** ADD, SUB, AND, ...: two operands, the result in the first. */
const binary =
  (row: BinaryName): Lifter =>
  (b) => {
    const destination = b.operand(0);
    const size = b.sizeOf(destination);
    const source = b.read(b.operand(1));
    const target = b.target(destination);
    b.binary(row, size, target.result, target.value, source);
    target.commit();
  };

/** CMP and TEST: flags alone. */
const compare =
  (row: "cmp" | "test"): Lifter =>
  (b) => {
    const first = b.operand(0);
    const size = b.sizeOf(first);
    const a = b.slot(b.read(first));
    const source = b.read(b.operand(1));
    const width = bitsOf(size);
    if (typeof source === "bigint") b.emit(`${row}i${width}`, { a, imm: BigInt.asIntN(width, source) });
    else b.emit(`${row}${width}`, { a, b: source });
  };

const unary =
  (row: "inc" | "dec" | "neg"): Lifter =>
  (b) => {
    const destination = b.operand(0);
    const size = b.sizeOf(destination);
    const target = b.target(destination);
    b.emit(`${row}${bitsOf(size)}`, { d: target.result, a: target.value });
    target.commit();
  };

const not: Lifter = (b) => {
  const destination = b.operand(0);
  const target = b.target(destination);
  const size = b.sizeOf(destination);
  b.emit(`xori${bitsOf(size)}nf`, { d: target.result, a: target.value, imm: -1n });
  target.commit();
};

/** ADCX and ADOX: add with one flag as carry, the others untouched. */
const addWithFlag =
  (flag: "cf" | "of"): Lifter =>
  (b) => {
    const destination = b.operand(0);
    const size = b.sizeOf(destination);
    const source = b.read(b.operand(1));
    const target = b.target(destination);
    const carry = b.condition(flag === "cf" ? 2 : 0);
    const x = b.zeroExtend(target.value, size);
    const y = b.zeroExtend(source, size);
    const partial = b.compute("add", x, y);
    const sum = b.compute("add", partial, carry);
    if (size === 4) {
      b.emit("zx32", { d: target.result, a: sum });
      b.emit(`set${flag}`, { a: b.compute("shr", sum, 32n) });
    } else {
      const carryOut = b.compute("or", b.compute("ltu", partial, y), b.compute("ltu", sum, carry));
      b.move(target.result, sum);
      b.emit(`set${flag}`, { a: carryOut });
    }
  };

export const ARITHMETIC: Family = {
  [Mnemonic.Add]: binary("add"),
  [Mnemonic.Adc]: binary("adc"),
  [Mnemonic.Sub]: binary("sub"),
  [Mnemonic.Sbb]: binary("sbb"),
  [Mnemonic.And]: binary("and"),
  [Mnemonic.Or]: binary("or"),
  [Mnemonic.Xor]: binary("xor"),
  [Mnemonic.Cmp]: compare("cmp"),
  [Mnemonic.Test]: compare("test"),
  [Mnemonic.Inc]: unary("inc"),
  [Mnemonic.Dec]: unary("dec"),
  [Mnemonic.Neg]: unary("neg"),
  [Mnemonic.Not]: not,
  [Mnemonic.Adcx]: addWithFlag("cf"),
  [Mnemonic.Adox]: addWithFlag("of"),
};
