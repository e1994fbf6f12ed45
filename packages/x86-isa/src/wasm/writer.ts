/** Writer of one WebAssembly function body. */
export class WasmWriter {}
