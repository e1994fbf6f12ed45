import { Code, Mnemonic } from "../decode/iced.js";
import type { DecodedInstruction } from "../decode/instruction.js";
import { GuestException, type Machine } from "../machine.js";
import { VECTOR } from "../tables/vectors.js";

/**
 * What a system instruction does to its machine. It starts with `currentRip` at the instruction and `nextRip` after it;
 * a transfer of control changes `nextRip`. A {@link GuestException} means that nothing happened.
 */
export type SystemHandler = (m: Machine, i: DecodedInstruction) => void;

/** One row: the instruction's name, the decoder's mnemonics or codes that it covers, and its meaning. */
export interface SystemInstruction {
  readonly name: string;
  readonly mnemonics?: readonly Mnemonic[];
  /** Where only some forms of a mnemonic are system instructions. */
  readonly codes?: readonly Code[];
  readonly handle: SystemHandler;
}

const undefinedOpcode: SystemHandler = () => {
  throw new GuestException(VECTOR.UD);
};

/** Every system instruction. The index in this list is the handler's id in a `sys` micro-operation. */
export const SYSTEM_INSTRUCTIONS: readonly SystemInstruction[] = [
  { name: "UD", mnemonics: [Mnemonic.Ud0, Mnemonic.Ud1, Mnemonic.Ud2], handle: undefinedOpcode },
];

const byCode = new Map<Code, number>();
const byMnemonic = new Map<Mnemonic, number>();
SYSTEM_INSTRUCTIONS.forEach(({ mnemonics = [], codes = [] }, id) => {
  for (const mnemonic of mnemonics) byMnemonic.set(mnemonic, id);
  for (const code of codes) byCode.set(code, id);
});

/** Id of the handler of a system instruction; undefined for an instruction that is none. */
export function systemHandlerId(i: Pick<DecodedInstruction, "code" | "mnemonic">): number | undefined {
  return byCode.get(i.code) ?? byMnemonic.get(i.mnemonic);
}

/** Run the system instruction with this id. */
export function runSystemInstruction(m: Machine, id: number, i: DecodedInstruction): void {
  const row = SYSTEM_INSTRUCTIONS[id];
  if (row === undefined) throw new RangeError(`system handler ${id} does not exist`);
  row.handle(m, i);
}
