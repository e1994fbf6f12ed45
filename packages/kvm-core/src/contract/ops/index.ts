import { CAPABILITY_OPS } from "./capability.js";
import { DEBUG_OPS } from "./debug.js";
import { DIRTY_LOG_OPS } from "./dirty-log.js";
import { EVENT_INJECTION_OPS } from "./event-injection.js";
import { HALT_BLOCK_OPS } from "./halt-block.js";
import { INTERRUPT_CONTROLLER_OPS } from "./interrupt-controller.js";
import { MMU_OPS } from "./mmu.js";
import { MODULE_INIT_OPS } from "./module-init.js";
import { NESTED_OPS } from "./nested.js";
import { PER_CPU_OPS } from "./per-cpu.js";
import { PMU_OPS } from "./pmu.js";
import { POWER_CACHE_OPS } from "./power-cache.js";
import { REGISTER_CONTROL_OPS } from "./register-control.js";
import { REGISTER_FPU_OPS } from "./register-fpu.js";
import { REGISTER_GPR_OPS } from "./register-gpr.js";
import { REGISTER_MSR_OPS } from "./register-msr.js";
import { REGISTER_SEGMENT_OPS } from "./register-segment.js";
import { REGISTER_TABLE_OPS } from "./register-table.js";
import { RUN_LOOP_OPS } from "./run-loop.js";
import { TIME_OPS } from "./time.js";
import { VCPU_LIFECYCLE_OPS } from "./vcpu-lifecycle.js";
import { VM_OPS } from "./vm.js";

/** The chapters of the contract: the record of each file of this folder. An op's group is the record that declares it. */
export const OP_GROUPS = {
  "module-init": MODULE_INIT_OPS,
  "per-cpu": PER_CPU_OPS,
  capability: CAPABILITY_OPS,
  vm: VM_OPS,
  "vcpu-lifecycle": VCPU_LIFECYCLE_OPS,
  "run-loop": RUN_LOOP_OPS,
  "register-gpr": REGISTER_GPR_OPS,
  "register-segment": REGISTER_SEGMENT_OPS,
  "register-control": REGISTER_CONTROL_OPS,
  "register-table": REGISTER_TABLE_OPS,
  "register-msr": REGISTER_MSR_OPS,
  "register-fpu": REGISTER_FPU_OPS,
  debug: DEBUG_OPS,
  mmu: MMU_OPS,
  "dirty-log": DIRTY_LOG_OPS,
  "event-injection": EVENT_INJECTION_OPS,
  "interrupt-controller": INTERRUPT_CONTROLLER_OPS,
  time: TIME_OPS,
  "power-cache": POWER_CACHE_OPS,
  "halt-block": HALT_BLOCK_OPS,
  nested: NESTED_OPS,
  pmu: PMU_OPS,
} as const;

export type OpGroup = keyof typeof OP_GROUPS;

/**
 * What a list of ops has to hold: every declaration of every group, under the name that its group has for it. A list that
 * `satisfies` it can neither leave out a declaration nor hold one that is in no group.
 */
export type EveryDeclaration<Groups> = {
  readonly [Name in NamesIn<Groups>]: DeclarationOf<Groups, Name>;
};

type NamesIn<Groups> = { [G in keyof Groups]: keyof Groups[G] }[keyof Groups];
type DeclarationOf<Groups, Name> = {
  [G in keyof Groups]: Name extends keyof Groups[G] ? Groups[G][Name] : never;
}[keyof Groups];
