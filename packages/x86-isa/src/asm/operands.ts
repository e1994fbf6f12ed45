import { Register } from "../decode/iced.js";

/** A register as an operand. */
export interface AsmRegister {
  readonly kind: "register";
  /** iced-x86 `Register`. */
  readonly register: number;
  readonly name: string;
}

type RegisterName = Exclude<Lowercase<keyof typeof Register & string>, "none" | `dontuse${string}`>;

/** Every register by its name: `const { rax, cr0 } = reg`. */
export const reg = Object.freeze(
  Object.fromEntries(
    Object.entries(Register)
      .filter((entry): entry is [string, number] => typeof entry[1] === "number" && entry[1] !== 0)
      .map(([name, register]) => [name.toLowerCase(), { kind: "register", register, name: name.toLowerCase() }]),
  ),
) as { readonly [N in RegisterName]: AsmRegister };

/** A label (with an offset), or the distance from one label to another. */
export interface AsmSymbol {
  readonly kind: "symbol";
  readonly name: string;
  readonly addend: bigint;
  readonly minus: string | undefined;
}

/** A constant or an address. A string is the name of a label. */
export type AsmValue = number | bigint | string | AsmSymbol;

/** The address of a label plus `addend`. */
export function sym(name: string, addend: number | bigint = 0): AsmSymbol {
  return { kind: "symbol", name, addend: BigInt(addend), minus: undefined };
}

/** `end - start + addend` in bytes, as for the limit of a table. */
export function distance(end: string, start: string, addend: number | bigint = 0): AsmSymbol {
  return { kind: "symbol", name: end, addend: BigInt(addend), minus: start };
}

/** Parts of an address. Without registers, in 64-bit code it is relative to RIP unless `absolute`. */
export interface AddressParts {
  readonly base?: AsmRegister;
  readonly index?: AsmRegister;
  readonly scale?: 1 | 2 | 4 | 8;
  readonly disp?: AsmValue;
  /** Segment override. */
  readonly segment?: AsmRegister;
  readonly absolute?: boolean;
}

export interface AsmMemory {
  readonly kind: "memory";
  /** Bytes accessed; undefined where the other operands say it. */
  readonly size: number | undefined;
  readonly parts: AddressParts;
}

/** Pointer operand of a far CALL or JMP; `bits` is the size of its offset, by default that of the code. */
export interface AsmFar {
  readonly kind: "far";
  readonly selector: number;
  readonly offset: AsmValue;
  readonly bits: 16 | 32 | undefined;
}

export type AsmOperand = AsmRegister | AsmMemory | AsmFar | AsmValue;

type AddressArgument = AddressParts | AsmRegister | AsmValue;

function isPart(value: AddressArgument): value is AddressParts {
  return typeof value === "object" && !("kind" in value);
}

function memory(size: number | undefined, first: AddressArgument, disp?: AsmValue): AsmMemory {
  if (isPart(first)) return { kind: "memory", size, parts: first };
  if (typeof first === "object" && first.kind === "register") {
    return { kind: "memory", size, parts: disp === undefined ? { base: first } : { base: first, disp } };
  }
  return { kind: "memory", size, parts: { disp: first } };
}

/** A function that makes memory operands: `dword(rbx, 8)`, `dword("label")`, `dword({ base, index, scale, disp })`. */
type MemoryMaker = (first: AddressArgument, disp?: AsmValue) => AsmMemory;

const sized =
  (size: number | undefined): MemoryMaker =>
  (first, disp) =>
    memory(size, first, disp);

/** Memory whose size the other operands say. */
export const mem = sized(undefined);
export const byte = sized(1);
export const word = sized(2);
export const dword = sized(4);
/** A far pointer with a 32-bit offset. */
export const fword = sized(6);
export const qword = sized(8);
/** Ten bytes: an 80-bit real, or a far pointer with a 64-bit offset. */
export const tbyte = sized(10);
export const xmmword = sized(16);

export function far(selector: number, offset: AsmValue, bits?: 16 | 32): AsmFar {
  return { kind: "far", selector, offset, bits };
}

/** An operand in Intel syntax, for messages. */
export function formatOperand(operand: AsmOperand): string {
  if (typeof operand !== "object") return typeof operand === "string" ? operand : `0x${operand.toString(16)}`;
  switch (operand.kind) {
    case "register":
      return operand.name;
    case "symbol":
      return operand.minus === undefined ? operand.name : `${operand.name} - ${operand.minus}`;
    case "far":
      return `0x${operand.selector.toString(16)}:${formatOperand(operand.offset)}`;
    case "memory": {
      const { base, index, scale, disp, segment } = operand.parts;
      const terms = [base?.name, index && `${index.name}*${scale ?? 1}`, disp === undefined ? "" : formatOperand(disp)];
      const size = operand.size === undefined ? "" : `${operand.size}-byte `;
      return `${size}${segment === undefined ? "" : `${segment.name}:`}[${terms.filter(Boolean).join(" + ")}]`;
    }
  }
}
