import { ByteSink } from "./bytes.js";
import { valueTypeByte, WasmWriter, type ValueType } from "./writer.js";

const KIND = { function: 0, memory: 2 } as const;
const SECTION = { type: 1, import: 2, function: 3, export: 7, code: 10 } as const;

/** Writer of one WebAssembly module: imported functions and one imported memory, own functions, exports. */
export class WasmModule {
  private readonly types: string[] = [];
  private readonly typeBytes = new ByteSink();
  private readonly imports = new ByteSink();
  private importCount = 0;
  private importedFunctions = 0;
  private readonly functionTypes: number[] = [];
  private readonly bodies: Uint8Array[] = [];
  private readonly exports = new ByteSink();
  private exportCount = 0;

  private type(parameters: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${parameters.join()}>${results.join()}`;
    const known = this.types.indexOf(key);
    if (known >= 0) return known;
    this.types.push(key);
    this.typeBytes.u8(0x60);
    for (const list of [parameters, results]) {
      this.typeBytes.u32(list.length);
      for (const type of list) this.typeBytes.u8(valueTypeByte(type));
    }
    return this.types.length - 1;
  }

  private import(module: string, name: string, kind: number): void {
    this.imports.text(module);
    this.imports.text(name);
    this.imports.u8(kind);
    this.importCount++;
  }

  /** Import a function; returns its index. All imports come before the first own function, which they number. */
  importFunction(
    module: string,
    name: string,
    parameters: readonly ValueType[],
    results: readonly ValueType[] = [],
  ): number {
    if (this.bodies.length > 0) throw new RangeError("functions are imported before the first one is written");
    const type = this.type(parameters, results);
    this.import(module, name, KIND.function);
    this.imports.u32(type);
    return this.importedFunctions++;
  }

  /** Import the memory, of at least `minimumPages` of 64 KiB. */
  importMemory(module: string, name: string, minimumPages: number): void {
    this.import(module, name, KIND.memory);
    this.imports.u8(0);
    this.imports.u32(minimumPages);
  }

  /** Write a function; returns its index. With `exportName` it is exported. */
  function(
    parameters: readonly ValueType[],
    results: readonly ValueType[],
    write: (w: WasmWriter) => void,
    exportName?: string,
  ): number {
    const writer = new WasmWriter(parameters.length);
    this.functionTypes.push(this.type(parameters, results));
    write(writer);
    this.bodies.push(writer.finish());
    const index = this.importedFunctions + this.bodies.length - 1;
    if (exportName !== undefined) {
      this.exports.text(exportName);
      this.exports.u8(KIND.function);
      this.exports.u32(index);
      this.exportCount++;
    }
    return index;
  }

  /** The module in the binary format. */
  finish(): Uint8Array<ArrayBuffer> {
    const out = new ByteSink();
    for (const byte of [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]) out.u8(byte);
    const section = (id: number, count: number, content: ByteSink): void => {
      if (count === 0) return;
      const body = new ByteSink();
      body.u32(count);
      body.raw(content.take());
      out.u8(id);
      out.vector(body.take());
    };
    section(SECTION.type, this.types.length, this.typeBytes);
    section(SECTION.import, this.importCount, this.imports);
    const functions = new ByteSink();
    for (const type of this.functionTypes) functions.u32(type);
    section(SECTION.function, this.functionTypes.length, functions);
    section(SECTION.export, this.exportCount, this.exports);
    const code = new ByteSink();
    for (const body of this.bodies) code.vector(body);
    section(SECTION.code, this.bodies.length, code);
    return out.take();
  }
}
