import { Code, CodeExt, MemorySizeExt, Mnemonic, type OpCodeOperandKind } from "../decode/iced.js";
import type { Bitness } from "../decode/instruction.js";

/** Source that cannot be assembled. The message names the statement and the rule. */
export class AssemblerError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "AssemblerError";
  }
}

/** Other names of conditions, and the ones that the decoder uses. */
const CONDITION_SYNONYMS = {
  z: "e",
  nz: "ne",
  c: "b",
  nae: "b",
  nc: "ae",
  nb: "ae",
  na: "be",
  nbe: "a",
  nge: "l",
  nl: "ge",
  ng: "le",
  nle: "g",
  pe: "p",
  po: "np",
} as const;
const CONDITIONAL = ["j", "set", "cmov"] as const;

type DecoderName = Lowercase<keyof typeof Mnemonic & string>;
export type MnemonicName = DecoderName | `${(typeof CONDITIONAL)[number]}${keyof typeof CONDITION_SYNONYMS}`;

const synonyms = new Map<string, string>(
  CONDITIONAL.flatMap((prefix) =>
    Object.entries(CONDITION_SYNONYMS).map(([synonym, name]) => [prefix + synonym, prefix + name] as const),
  ),
);

/** Every mnemonic that the assembler takes. */
export const MNEMONIC_NAMES: readonly MnemonicName[] = [
  ...Object.keys(Mnemonic)
    .filter((name) => !/^\d/.test(name) && name !== "INVALID")
    .map((name) => name.toLowerCase() as DecoderName),
  ...([...synonyms.keys()] as MnemonicName[]),
];

/** One form of an instruction, with what the choice depends on. */
export interface Form {
  readonly code: Code;
  readonly syntax: string;
  readonly kinds: readonly OpCodeOperandKind[];
  readonly modes: readonly Bitness[];
  readonly operandSize: number;
  readonly addressSize: number;
  /** The operand size is 64 bits in 64-bit code without REX.W. */
  readonly default64: boolean;
  readonly memoryBytes: number;
}

const formsByMnemonic = new Map<string, Form[]>();

function readForm(code: Code): { name: string; form: Form } | undefined {
  const info = CodeExt.opCode(code);
  try {
    if (!info.isInstruction) return undefined;
    const name = Mnemonic[info.mnemonic];
    if (name === undefined) return undefined;
    const form: Form = {
      code,
      syntax: info.instructionString,
      kinds: Array.from({ length: info.opCount }, (_, n) => info.opKind(n)),
      modes: ([16, 32, 64] as const).filter((mode) => info.isAvailableInMode(mode)),
      operandSize: info.operandSize,
      addressSize: info.addressSize,
      default64: info.defaultOpSize64 || info.forceOpSize64 || info.intelForceOpSize64,
      memoryBytes: MemorySizeExt.size(info.memorySize),
    };
    return { name: name.toLowerCase(), form };
  } finally {
    info.free();
  }
}

/** Every form of a mnemonic, in the decoder's order. */
export function formsOf(mnemonic: string): readonly Form[] {
  if (formsByMnemonic.size === 0) {
    for (const code of Object.values(Code)) {
      const entry = typeof code === "number" ? readForm(code) : undefined;
      if (entry === undefined) continue;
      const forms = formsByMnemonic.get(entry.name);
      if (forms === undefined) formsByMnemonic.set(entry.name, [entry.form]);
      else forms.push(entry.form);
    }
  }
  const forms = formsByMnemonic.get(synonyms.get(mnemonic) ?? mnemonic);
  if (forms === undefined) throw new AssemblerError(`there is no instruction "${mnemonic}"`);
  return forms;
}
