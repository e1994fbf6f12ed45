import { KvmError } from "@tapvisor/kvm-core/contract";
import type { OpName } from "@tapvisor/kvm-core/contract";

/** An op that this backend registers and does not serve: its call throws ENOSYS in the op's name. */
export function notImplemented(op: OpName): () => never {
  return () => {
    throw new KvmError("ENOSYS", op, `arch-svm-stub does not implement the op ${op}`);
  };
}
