// The one-way imports between packages and between their files, and where Node, tsyringe and tapable may appear (ARCHITECTURE.md).
const ours = "^packages/[^/]+/";
/** What may be imported across packages: the files that `exports` of a package.json names. */
const contract = "^packages/kvm-core/(src|dist)/contract/index[.](ts|js|d[.]ts)$";
const isa = "^packages/x86-isa/";

/** The files of kvm-core that have the ioctls, and what backends are given. */
const IOCTLS = "kvm|vm|vcpu|exports";

/** A rule: of our packages, `name` may import itself and `allowed` only. */
function onlyImports(name, ...allowed) {
  return {
    name: `imports-of-${name}`,
    comment: `packages/${name} may import of ours: ${allowed.length === 0 ? "nothing" : allowed.join(", ")}`,
    severity: "error",
    from: { path: `^packages/${name}/src/` },
    to: { path: ours, pathNot: [`^packages/${name}/src/`, ...allowed] },
  };
}

/** A rule: nobody but `folder` imports the npm package `name`. */
function onlyIn(name, folder) {
  return {
    name: `${name}-in-one-place`,
    comment: `only ${folder} imports ${name}`,
    severity: "error",
    from: { path: "^packages/[^/]+/src/", pathNot: `^${folder}/` },
    to: { path: `node_modules/${name}/` },
  };
}

/** @type {import("dependency-cruiser").IConfiguration} */
export default {
  forbidden: [
    onlyImports("x86-isa"),
    onlyImports("x86-cpu", isa),
    onlyImports("kvm-core", isa),
    onlyImports("arch-vmx", isa, contract),
    onlyImports("arch-svm-stub", isa, contract),
    onlyImports("devices", contract),
    onlyImports("sdk", isa, "^packages/kvm-core/"),
    onlyIn("tsyringe", "packages/kvm-core/src/registry"),
    onlyIn("reflect-metadata", "packages/kvm-core/src/registry"),
    onlyIn("tapable", "packages/kvm-core/src/hooks"),
    {
      name: "ioctls-on-top",
      comment: "the ioctls of kvm-core are above everything: who is below takes what lies in state/",
      severity: "error",
      from: { path: "^packages/kvm-core/src/", pathNot: `^packages/kvm-core/src/(registry/|(${IOCTLS}|index)[.]ts$)` },
      to: { path: `^packages/kvm-core/src/(${IOCTLS})[.]ts$` },
    },
    {
      name: "mmu-below-emulator",
      comment: "a fault is all of the MMU that may end in the emulator",
      severity: "error",
      from: { path: "^packages/kvm-core/src/mmu/", pathNot: "/fault[.]ts$" },
      to: { path: "^packages/kvm-core/src/emulate/" },
    },
    {
      name: "node-only-in-cli",
      comment: "the packages run in a browser too: node:* stays in packages/cli and in entry points named node.ts",
      severity: "error",
      from: { path: "^packages/[^/]+/src/", pathNot: ["^packages/cli/", "/node[.]ts$"] },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "packages-know-no-tools",
      severity: "error",
      from: { path: "^packages/[^/]+/src/" },
      to: { path: "^(tools|examples)/|/test/" },
    },
    {
      name: "no-deep-imports",
      comment: "a package is imported by its name, through what its package.json exports",
      severity: "error",
      from: { path: "^(packages/[^/]+|examples/[^/]+|tools/[^/]+)/" },
      to: {
        path: "^packages/[^/]+/src/",
        pathNot: ["^$1/", "/src/index[.]ts$", "^packages/[^/]+/src/[^/]+/index[.]ts$"],
      },
    },
    {
      name: "no-circular",
      comment: "a file stands on those below it: no circle of imports, those of types included",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "resolvable",
      severity: "error",
      from: { path: ours },
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "/dist/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.test.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["@tapvisor/source", "import", "default"],
      mainFields: ["module", "main"],
    },
  },
};
