/**
 * The one door to the decoder and encoder library iced-x86. Its npm package is CommonJS that reads its WebAssembly file
 * with Node's `fs`. The package's import map leads bundlers for browsers to the same code as an ECMAScript module that
 * carries the WebAssembly file in itself; tools/generate/iced-browser.mjs makes it.
 */
export {
  Code,
  CodeExt,
  CpuidFeature,
  Decoder,
  DecoderError,
  DecoderOptions,
  Encoder,
  Formatter,
  FormatterSyntax,
  Instruction,
  MemorySize,
  MemorySizeExt,
  Mnemonic,
  OpCodeInfo,
  OpCodeOperandKind,
  OpKind,
  Register,
} from "#iced-x86";
