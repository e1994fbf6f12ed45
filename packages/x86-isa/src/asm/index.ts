export { Assembler, type AssembledImage } from "./assembler.js";
export {
  byte,
  distance,
  dword,
  far,
  fword,
  mem,
  qword,
  reg,
  sym,
  tbyte,
  word,
  xmmword,
  type AddressParts,
  type AsmFar,
  type AsmMemory,
  type AsmOperand,
  type AsmRegister,
  type AsmSymbol,
  type AsmValue,
} from "./operands.js";
export { AssemblerError, type MnemonicName } from "./forms.js";
