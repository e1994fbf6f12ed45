import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, expectTypeOf, it } from "vitest";
import type {
  KvmX86Ops,
  MsrAccess,
  OpArgs,
  OpCaller,
  OpField,
  OpName,
  OpResult,
  OpSignature,
  Vcpu,
  Vm,
} from "../../src/contract/index.js";
import { describeOp, isOpName, op, opField, OP_GROUPS, OP_NAMES, OPS, X86_OPS } from "../../src/contract/index.js";
import type { EveryDeclaration } from "../../src/contract/ops/index.js";

/** The left-hand sides of vmx_x86_ops in Linux 4.9, in their order. */
const SEED = `cpu_has_kvm_support disabled_by_bios hardware_setup hardware_unsetup check_processor_compatibility
hardware_enable hardware_disable cpu_has_accelerated_tpr cpu_has_high_real_mode_segbase vcpu_create vcpu_free
vcpu_reset prepare_guest_switch vcpu_load vcpu_put update_bp_intercept get_msr set_msr get_segment_base get_segment
set_segment get_cpl get_cs_db_l_bits decache_cr0_guest_bits decache_cr3 decache_cr4_guest_bits set_cr0 set_cr3 set_cr4
set_efer get_idt set_idt get_gdt set_gdt get_dr6 set_dr6 set_dr7 sync_dirty_debug_regs cache_reg get_rflags set_rflags
get_pkru fpu_activate fpu_deactivate tlb_flush run handle_exit skip_emulated_instruction set_interrupt_shadow
get_interrupt_shadow patch_hypercall set_irq set_nmi queue_exception cancel_injection interrupt_allowed nmi_allowed
get_nmi_mask set_nmi_mask enable_nmi_window enable_irq_window update_cr8_intercept set_virtual_x2apic_mode
set_apic_access_page_addr get_enable_apicv refresh_apicv_exec_ctrl load_eoi_exitmap hwapic_irr_update
hwapic_isr_update sync_pir_to_irr deliver_posted_interrupt set_tss_addr get_tdp_level get_mt_mask get_exit_info
get_lpage_level cpuid_update rdtscp_supported invpcid_supported set_supported_cpuid has_wbinvd_exit write_tsc_offset
set_tdp_cr3 check_intercept handle_external_intr mpx_supported xsaves_supported check_nested_events sched_in
slot_enable_log_dirty slot_disable_log_dirty flush_log_dirty enable_log_dirty_pt_masked pre_block post_block pmu_ops
update_pi_irte set_hv_timer cancel_hv_timer setup_mce`.split(/\s+/);

const PMU = `find_arch_event find_fixed_event pmc_is_enabled pmc_idx_to_pmc msr_idx_to_pmc is_valid_msr_idx
is_valid_msr get_msr set_msr refresh init reset`.split(/\s+/);

const SVM_ONLY = ["vm_init", "vm_destroy", "vcpu_blocking", "vcpu_unblocking", "apicv_post_state_restore"];

describe("the op contract", () => {
  it("has the 100 members of vmx_x86_ops in their order, then those of SVM alone", () => {
    expect(SEED).toHaveLength(100);
    expect(Object.keys(X86_OPS)).toEqual([...SEED, ...SVM_ONLY]);
  });

  it("has the 12 members of kvm_pmu_ops in their order", () => {
    expect(Object.keys(X86_OPS.pmu_ops)).toEqual(PMU);
  });

  it("names 111 callables of the seed and 5 more, the PMU's where pmu_ops stands", () => {
    expect(OP_NAMES).toHaveLength(116);
    const expected = SEED.flatMap((name) => (name === "pmu_ops" ? PMU.map((member) => `pmu_ops.${member}`) : [name]));
    expect(OP_NAMES).toEqual([...expected, ...SVM_ONLY]);
    expect(isOpName("pmu_ops.get_msr")).toBe(true);
    expect(isOpName("pmu_ops")).toBe(false);
    expect(isOpName("toString")).toBe(false);
  });

  it.each(OP_NAMES)("says all there is to say about %s", (name) => {
    const described = describeOp(name);
    expect(described.summary).toMatch(/^[A-Z].*\.$/);
    expect(described.returns === undefined).toBe(described.result === "void");
    expect(described.returns).not.toBe("");
    expect(described.fills).not.toBe("");
    if (described.result === "boolean") expect(described.returns).toMatch(/^[a-z]+: ./);
    expect(new Set(described.args).size).toBe(described.args.length);
    // vm first or vcpu first: the scope of a call is found there.
    expect(described.args.slice(1)).not.toContain("vcpu");
    expect(described.args.slice(1)).not.toContain("vm");
    expect(Object.isFrozen(described)).toBe(true);
  });

  it("freezes the list of names and the table", () => {
    expect(Object.isFrozen(OPS)).toBe(true);
    expect(Object.isFrozen(OP_NAMES)).toBe(true);
  });

  it("derives arguments, results and signatures", () => {
    expectTypeOf<OpArgs<"get_msr">>().toEqualTypeOf<[vcpu: Vcpu, msr: MsrAccess]>();
    expectTypeOf<OpResult<"get_msr">>().toEqualTypeOf<boolean>();
    expectTypeOf<OpResult<"check_intercept">>().toEqualTypeOf<"continue" | "intercepted">();
    expectTypeOf<OpSignature<"pmu_ops.refresh">>().toEqualTypeOf<(vcpu: Vcpu) => void>();
    expectTypeOf<"pmu_ops">().not.toExtend<OpName>();
    expectTypeOf<"pmu_ops.init">().toExtend<OpName>();
  });

  it("lets a backend leave out what is optional, and makes callers ask for it", () => {
    expectTypeOf<KvmX86Ops["get_msr"]>().toEqualTypeOf<(vcpu: Vcpu, msr: MsrAccess) => boolean>();
    expectTypeOf<KvmX86Ops["vm_init"]>().toEqualTypeOf<((vm: Vm) => void) | undefined>();
    expectTypeOf<OpCaller["vm_init"]>().toEqualTypeOf<(vm: Vm) => void>();
    expectTypeOf<OpCaller["vm_destroy"]>().toEqualTypeOf<((vm: Vm) => void) | undefined>();
    expectTypeOf<OpCaller["pmu_ops"]["init"]>().toEqualTypeOf<(vcpu: Vcpu) => void>();
  });

  it("has every op in one group, under its own name, and every file of groups", async () => {
    const folder = join(import.meta.dirname, "../../src/contract/ops");
    const files = readdirSync(folder).filter((file) => file !== "index.ts");
    const records: unknown[] = [];
    for (const file of files) records.push(...Object.values((await import(join(folder, file))) as object));
    expect(new Set(records)).toEqual(new Set(Object.values(OP_GROUPS)));
    expect(files.map((file) => file.replace(/[.]ts$/, "")).sort()).toEqual(Object.keys(OP_GROUPS).sort());

    for (const name of OP_NAMES) {
      const group: Readonly<Record<string, unknown>> = OP_GROUPS[describeOp(name).group];
      expect(group[opField(name).member], name).toBe(OPS[name]);
    }
    const declared = Object.values(OP_GROUPS).flatMap((group) => Object.keys(group));
    expect(declared).toHaveLength(OP_NAMES.length);
    expect(describeOp("get_msr").group).toBe("register-msr");
    expect(describeOp("pmu_ops.get_msr").group).toBe("pmu");
  });

  it("says in which table an op has its field", () => {
    expect(opField("get_msr")).toEqual({ table: "x86_ops", member: "get_msr" });
    expect(opField("pmu_ops.get_msr")).toEqual({ table: "pmu_ops", member: "get_msr" });
    expectTypeOf<Extract<OpField, { table: "pmu_ops" }>["member"]>().toEqualTypeOf<keyof typeof X86_OPS.pmu_ops>();
    expectTypeOf<"pmu_ops">().not.toExtend<OpField["member"]>();
  });

  it("refuses a list that lacks a declaration of a group, or has one that is in none", () => {
    const rest = { args: [], context: "any", hot: false, result: "number", returns: "levels", summary: "" } as const;
    const depth = op<() => number>()(rest);
    const width = op<() => string>()({ ...rest, result: [""] });
    type Groups = { readonly mmu: { readonly depth: typeof depth }; readonly time: { readonly width: typeof width } };
    expectTypeOf<EveryDeclaration<Groups>>().toEqualTypeOf<{
      readonly depth: typeof depth;
      readonly width: typeof width;
    }>();
    const all = { depth, width } satisfies EveryDeclaration<Groups>;
    // @ts-expect-error `width` is declared and not listed
    const forgotten = { depth } satisfies EveryDeclaration<Groups>;
    // @ts-expect-error `height` is listed and in no group
    const homeless = { depth, width, height: depth } satisfies EveryDeclaration<Groups>;
    // @ts-expect-error under the name of another, with another signature
    const swapped = { depth, width: depth } satisfies EveryDeclaration<Groups>;
    expect([all, forgotten, homeless, swapped].map((list) => Object.keys(list).length)).toEqual([2, 1, 3, 2]);
  });

  it("refuses labels, results and signatures that do not agree", () => {
    const rest = { context: "any", hot: false, returns: "levels", summary: "" } as const;
    // @ts-expect-error one argument, two labels
    op<(vcpu: Vcpu) => number>()({ ...rest, args: ["vcpu", "more"], result: "number" });
    // @ts-expect-error the result is no number
    op<(vcpu: Vcpu) => boolean>()({ ...rest, args: ["vcpu"], result: "number" });
    expect(op<() => number>()({ ...rest, args: [], result: "number" }).kind).toBe("op");
  });

  it("has the meaning of a result said where there is a result, and nowhere else", () => {
    const rest = { args: [], context: "any", hot: false, summary: "" } as const;
    // @ts-expect-error what the number means is not said
    op<() => number>()({ ...rest, result: "number" });
    // @ts-expect-error the op returns nothing
    op<() => void>()({ ...rest, result: "void", returns: "nothing" });
    expect(op<() => void>()({ ...rest, result: "void", fills: "table" }).returns).toBeUndefined();
    expect(op<() => number>()({ ...rest, result: "number", returns: "levels" }).returns).toBe("levels");
  });
});
