/**
 * The one door to the decoder and encoder library iced-x86. Its npm package is CommonJS that reads its WebAssembly file
 * with Node's `fs`; what a bundler for browsers needs instead is the business of this file and of the package's
 * `#iced-x86` import map alone.
 */
export {
  BlockEncoder,
  BlockEncoderOptions,
  Code,
  CodeExt,
  CpuidFeature,
  Decoder,
  DecoderError,
  DecoderOptions,
  Encoder,
  FlowControl,
  Formatter,
  FormatterSyntax,
  Instruction,
  MemoryOperand as IcedMemoryOperand,
  MemorySize,
  MemorySizeExt,
  Mnemonic,
  OpCodeInfo,
  OpCodeOperandKind,
  OpKind,
  Register,
  RepPrefixKind,
} from "iced-x86";
