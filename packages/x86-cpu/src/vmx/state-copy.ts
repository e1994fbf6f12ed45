import { WasmModule, type CpuState, type WasmWriter } from "@tapvisor/x86-isa";

/** Words that a copy moves: pairs of word indices, of the state and of the VMCS. */
export type WordPairs = readonly (readonly [state: number, vmcs: number])[];

/** Copies between the register states and a VMCS, whose place in the memory is given as the index of its first byte. */
export interface StateCopies {
  loadGuest(vmcs: number): void;
  saveGuest(vmcs: number): void;
  loadHost(vmcs: number): void;
}

/**
 * Generate the copies that every world switch makes. They are WebAssembly because a loop over the pairs costs some ten
 * times as much, which is a third of an exit.
 *
 * @param guest in the memory, as is `root`
 */
export function stateCopies(
  memory: WebAssembly.Memory,
  guest: CpuState,
  root: CpuState,
  lists: { readonly guest: WordPairs; readonly host: WordPairs },
): StateCopies {
  const module = new WasmModule();
  module.importMemory("host", "memory", 1);
  const write = (name: keyof StateCopies, body: (w: WasmWriter) => void): void => {
    module.function(["i32"], [], body, name);
  };
  write("loadGuest", (w) => copyAll(w, lists.guest, guest.base, true));
  write("saveGuest", (w) => copyAll(w, lists.guest, guest.base, false));
  write("loadHost", (w) => copyAll(w, lists.host, root.base, true));
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { host: { memory } });
  return instance.exports as unknown as StateCopies;
}

/** Copy each pair, two that are neighbours on both sides at once. */
function copyAll(w: WasmWriter, pairs: WordPairs, state: number, load: boolean): void {
  for (let i = 0; i < pairs.length; i++) {
    const [from, field] = pairs[i] as WordPairs[number];
    const after = pairs[i + 1];
    const both = after?.[0] === from + 1 && after[1] === field + 1;
    if (both) i++;
    const [read, store] = both ? (["i64.load", "i64.store"] as const) : (["i32.load", "i32.store"] as const);
    if (load) {
      w.i32(0);
      w.get(0);
      w.mem(read, field * 4);
      w.mem(store, state + from * 4);
    } else {
      w.get(0);
      w.i32(0);
      w.mem(read, state + from * 4);
      w.mem(store, field * 4);
    }
  }
}
