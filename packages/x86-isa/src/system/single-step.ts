import { Mnemonic } from "../decode/iced.js";
import type { ExecutionEnvironment } from "../environment.js";
import { PENDING_DEBUG } from "../tables/events.js";
import { RFLAGS } from "../tables/registers.js";
import { SLOT } from "./mode.js";

const BY_FINAL_FLAGS: ReadonlySet<number> = new Set<number>([
  Mnemonic.Int,
  Mnemonic.Int1,
  Mnemonic.Int3,
  Mnemonic.Into,
  Mnemonic.Syscall,
  Mnemonic.Sysret,
  Mnemonic.Sysretq,
]);

/**
 * Whether the single-step trap after an instruction is its handler's own business. All others trap if TF was set when
 * they began. These trap by the TF that they leave: an interrupt handler or a kernel that is entered with TF masked
 * meets no trap, and a SYSRET that sets TF traps at once.
 */
export function trapsByFinalFlags(mnemonic: number): boolean {
  return BY_FINAL_FLAGS.has(mnemonic);
}

/** Make the trap of such an instruction pending. */
export function trapByFinalFlags(m: ExecutionEnvironment): void {
  const s = m.state;
  if ((s.get64(SLOT.flagsRest) & RFLAGS.TF) === 0n) return;
  s.set64(SLOT.pendingDebug, s.get64(SLOT.pendingDebug) | PENDING_DEBUG.BS);
  // The machine looks at pending events again.
  m.modeChanged();
}
