import type { Bitness } from "../decode/instruction.js";
import type { AsmOperand, AsmSymbol, AsmValue } from "./operands.js";
import { AssemblerError, MNEMONIC_NAMES, type MnemonicName } from "./forms.js";
import { describe, encodeShortest, valueOf, type Modifiers, type Place } from "./select.js";

/** What an assembly gives: the bytes from its origin on, and the address of every label. */
export interface AssembledImage {
  readonly origin: bigint;
  readonly bytes: Uint8Array;
  readonly symbols: ReadonlyMap<string, bigint>;
}

type Statement =
  | {
      readonly kind: "instruction";
      readonly mnemonic: string;
      readonly operands: readonly AsmOperand[];
      readonly modifiers: Modifiers;
      readonly bitness: Bitness;
      /** Bytes at the last pass. */
      length: number;
    }
  | { readonly kind: "label"; readonly name: string }
  | { readonly kind: "data"; readonly size: 1 | 2 | 4 | 8; readonly values: readonly AsmValue[] }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "align"; readonly to: bigint; readonly fill: number }
  | { readonly kind: "org"; readonly address: bigint; readonly fill: number };

const SECTION_ALIGNMENT = 16n;
const utf8 = new TextEncoder();

/** Directives; the instructions are added to the prototype by their mnemonics. */
class AssemblerCore {
  #bitness: Bitness;
  #modifiers: Modifiers = {};
  readonly #sections = new Map<string, Statement[]>();
  #current: Statement[];
  readonly #labels = new Set<string>();
  readonly #constants = new Map<string, bigint>();

  /** @param bitness size of the code at the start: 16, 32 or 64 */
  constructor(bitness: Bitness) {
    this.#bitness = bitness;
    this.#current = this.#open("text");
  }

  #open(name: string): Statement[] {
    let section = this.#sections.get(name);
    if (section === undefined) this.#sections.set(name, (section = []));
    return section;
  }

  /** Assemble what follows as 16-, 32- or 64-bit code. */
  bits(bitness: Bitness): this {
    this.#bitness = bitness;
    return this;
  }

  /** Put what follows into a section. Sections lie one after another in order of their first use, from `text` on. */
  section(name: string): this {
    this.#current = this.#open(name);
    return this;
  }

  #define(name: string): void {
    if (this.#labels.has(name) || this.#constants.has(name)) {
      throw new AssemblerError(`label "${name}" is defined twice`);
    }
  }

  label(name: string): this {
    this.#define(name);
    this.#labels.add(name);
    this.#current.push({ kind: "label", name });
    return this;
  }

  /** Name a constant. */
  equ(name: string, value: number | bigint): this {
    this.#define(name);
    this.#constants.set(name, BigInt(value));
    return this;
  }

  /** Fill up to a multiple of `to` bytes. */
  align(to: number, fill = 0): this {
    this.#current.push({ kind: "align", to: BigInt(to), fill });
    return this;
  }

  /** Fill up to an address. */
  org(address: number | bigint, fill = 0): this {
    this.#current.push({ kind: "org", address: BigInt(address), fill });
    return this;
  }

  #data(size: 1 | 2 | 4 | 8, values: readonly AsmValue[]): this {
    this.#current.push({ kind: "data", size, values });
    return this;
  }

  /** Bytes; a string stands for its text in UTF-8, without a terminating zero. */
  db(...values: readonly (number | bigint | string | Uint8Array)[]): this {
    for (const value of values) {
      if (typeof value === "string") this.#current.push({ kind: "bytes", bytes: utf8.encode(value) });
      else if (value instanceof Uint8Array) this.#current.push({ kind: "bytes", bytes: value });
      else this.#data(1, [value]);
    }
    return this;
  }

  /** Text with a terminating zero. */
  asciz(text: string): this {
    return this.db(text, 0);
  }

  dw(...values: AsmValue[]): this {
    return this.#data(2, values);
  }

  dd(...values: AsmValue[]): this {
    return this.#data(4, values);
  }

  dq(...values: AsmValue[]): this {
    return this.#data(8, values);
  }

  /** `count` bytes of zero. */
  zero(count: number): this {
    this.#current.push({ kind: "bytes", bytes: new Uint8Array(count) });
    return this;
  }

  lock(): this {
    return this.#modify({ lock: true });
  }

  rep(): this {
    return this.#modify({ rep: true });
  }

  repne(): this {
    return this.#modify({ repne: true });
  }

  /** Operand size in bits of the next instruction, where its operands do not say it: `a.operandSize(64).retf()`. */
  operandSize(bits: Bitness): this {
    return this.#modify({ operandSize: bits });
  }

  #modify(modifiers: Modifiers): this {
    this.#modifiers = { ...this.#modifiers, ...modifiers };
    return this;
  }

  /** An instruction by its mnemonic. */
  emit(mnemonic: MnemonicName, ...operands: readonly AsmOperand[]): this {
    this.#current.push({
      kind: "instruction",
      mnemonic,
      operands,
      modifiers: this.#modifiers,
      bitness: this.#bitness,
      length: 0,
    });
    this.#modifiers = {};
    return this;
  }

  /**
   * Assemble everything.
   *
   * @param origin address of the first byte
   * @throws AssemblerError naming the statement: an operand that no form takes, an unknown label, a branch out of reach
   */
  assemble(origin: number | bigint = 0n): AssembledImage {
    const start = BigInt(origin);
    for (const section of this.#sections.values()) {
      for (const statement of section) if (statement.kind === "instruction") statement.length = 0;
    }
    let symbols = new Map(this.#constants);
    for (let pass = 0; ; pass++) {
      const next = new Map(this.#constants);
      const { bytes, grew } = this.#pass(start, symbols, next, pass === 0);
      const moved = [...next].some(([name, address]) => symbols.get(name) !== address);
      if (!grew && !moved && pass > 0) return { origin: start, bytes, symbols: next };
      symbols = next;
    }
  }

  #pass(
    start: bigint,
    known: ReadonlyMap<string, bigint>,
    defined: Map<string, bigint>,
    first: boolean,
  ): { bytes: Uint8Array; grew: boolean } {
    const out: Uint8Array[] = [];
    let address = start;
    let grew = false;
    const append = (bytes: Uint8Array): void => {
      out.push(bytes);
      address += BigInt(bytes.length);
    };
    const lookup = (name: string): bigint => {
      const value = known.get(name);
      if (value !== undefined) return value;
      if (!this.#labels.has(name)) throw new AssemblerError(`label "${name}" is not defined`);
      // Before the first layout is known a label is assumed near, so that every statement starts at its shortest.
      return first ? address : 0n;
    };
    const resolve = (symbol: AsmSymbol): bigint =>
      symbol.minus === undefined
        ? lookup(symbol.name) + symbol.addend
        : lookup(symbol.name) - lookup(symbol.minus) + symbol.addend;
    const fillTo = (target: bigint, fill: number): void => {
      append(new Uint8Array(Number(target - address)).fill(fill));
    };
    const upTo = (to: bigint): bigint => ((address + to - 1n) / to) * to;

    for (const section of this.#sections.values()) {
      if (section.length > 0 && address !== start) fillTo(upTo(SECTION_ALIGNMENT), 0);
      for (const statement of section) {
        switch (statement.kind) {
          case "label":
            defined.set(statement.name, address);
            break;
          case "bytes":
            append(statement.bytes);
            break;
          case "data":
            append(encodeData(statement.size, statement.values, { resolve }, first));
            break;
          case "align":
            fillTo(upTo(statement.to), statement.fill);
            break;
          case "org":
            if (statement.address < address) {
              throw new AssemblerError(
                `org 0x${statement.address.toString(16)}: the image has reached 0x${address.toString(16)} already`,
              );
            }
            fillTo(statement.address, statement.fill);
            break;
          case "instruction": {
            const place: Place = { bitness: statement.bitness, address, resolve };
            const bytes = encodeStatement(statement, place);
            if (bytes.length !== statement.length) {
              statement.length = bytes.length;
              grew = true;
            }
            append(bytes);
          }
        }
      }
    }
    const bytes = new Uint8Array(Number(address - start));
    let at = 0;
    for (const part of out) {
      bytes.set(part, at);
      at += part.length;
    }
    return { bytes, grew };
  }
}

function encodeStatement(s: Extract<Statement, { kind: "instruction" }>, place: Place): Uint8Array {
  try {
    return encodeShortest(s.mnemonic, s.operands, s.modifiers, place, s.length);
  } catch (error) {
    if (!(error instanceof AssemblerError)) throw error;
    const where = `at 0x${place.address.toString(16)}`;
    const what = error.message.startsWith(s.mnemonic) ? "" : `${describe(s.mnemonic, s.operands)}: `;
    throw new AssemblerError(`${where}: ${what}${error.message}`);
  }
}

function encodeData(
  size: 1 | 2 | 4 | 8,
  values: readonly AsmValue[],
  place: Pick<Place, "resolve">,
  first: boolean,
): Uint8Array {
  const bytes = new Uint8Array(values.length * size);
  const bits = size * 8;
  values.forEach((source, n) => {
    const value = valueOf(source, place);
    if (!first && (value < -(1n << BigInt(bits - 1)) || value >= 1n << BigInt(bits))) {
      throw new AssemblerError(`0x${value.toString(16)} does not fit ${bits} bits`);
    }
    for (let b = 0; b < size; b++) bytes[n * size + b] = Number((value >> BigInt(b * 8)) & 0xffn);
  });
  return bytes;
}

type CoreMember = keyof AssemblerCore;

/**
 * An assembler of x86 code for tests, guests and plugins. Every mnemonic is a method in lower case, with operands in
 * Intel order; the shortest form that fits is chosen, branches included.
 *
 * ```ts
 * const { rax, rcx } = reg;
 * const a = new Assembler(64);
 * a.mov(rcx, 10).label("loop").add(rax, rcx).dec(rcx).jnz("loop").hlt();
 * const { bytes, symbols } = a.assemble(0x100000n);
 * ```
 */
export type Assembler = {
  [K in Exclude<CoreMember, "assemble" | "emit" | "db" | "dw" | "dd" | "dq">]: (
    ...parameters: Parameters<AssemblerCore[K]>
  ) => Assembler;
} & {
  assemble: AssemblerCore["assemble"];
  emit(mnemonic: MnemonicName, ...operands: readonly AsmOperand[]): Assembler;
  db(...values: readonly (number | bigint | string | Uint8Array)[]): Assembler;
  dw(...values: readonly AsmValue[]): Assembler;
  dd(...values: readonly AsmValue[]): Assembler;
  dq(...values: readonly AsmValue[]): Assembler;
} & {
  [M in Exclude<MnemonicName, CoreMember>]: (...operands: readonly AsmOperand[]) => Assembler;
};

for (const mnemonic of MNEMONIC_NAMES) {
  if (mnemonic in AssemblerCore.prototype) continue;
  Object.defineProperty(AssemblerCore.prototype, mnemonic, {
    value(this: AssemblerCore, ...operands: readonly AsmOperand[]): AssemblerCore {
      return this.emit(mnemonic, ...operands);
    },
  });
}

/** @see Assembler */
export const Assembler = AssemblerCore as unknown as new (bitness: Bitness) => Assembler;
