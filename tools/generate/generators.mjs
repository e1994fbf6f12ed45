// Every generated file that is committed, with the command that writes it. CI runs them all and compares.

/** @type {readonly { command: string[], outputs: string[] }[]} */
export const generators = [
  {
    command: ["tools/generate/contract.mjs"],
    outputs: [
      "packages/kvm-core/src/dispatch/op-calls.generated.ts",
      "packages/cli/src/op-callers.generated.ts",
      "docs/reference/ops.md",
      "docs/reference/hooks.md",
      "docs/reference/errors.md",
    ],
  },
  {
    command: ["tools/generate/uop-names.mjs"],
    outputs: ["packages/x86-isa/src/uops/names.generated.ts"],
  },
  {
    command: ["tools/generate/conformance-page.mjs"],
    outputs: ["docs/reference/conformance.md"],
  },
];
