// @ts-check
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

/** What makes a run depend on more than its inputs. */
const nondeterminism = [
  { object: "Math", property: "random", message: "A run is a pure function of its inputs: take a seeded generator." },
  { object: "Date", property: "now", message: "Take the time from HostClock." },
  { object: "performance", property: "now", message: "Take the time from HostClock." },
];

export default defineConfig(
  { ignores: ["**/dist/", "**/node_modules/", "coverage/", "packages/*/vectors/"] },
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.recommended],
    languageOptions: {
      parserOptions: { project: ["./tsconfig.test.json"], tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      eqeqeq: ["error", "always"],
      "no-var": "error",
      "prefer-const": ["error", { ignoreReadBeforeAssign: true }],
      "@typescript-eslint/ban-ts-comment": "error",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-non-null-assertion": "error",
      "@typescript-eslint/no-unnecessary-type-assertion": "error",
      // An injected class must stay a value import, or tsyringe has nothing to inject.
      "@typescript-eslint/consistent-type-imports": "off",
      // Interfaces of state classes and hooks are merged on purpose nowhere; an empty one is a mistake.
      "@typescript-eslint/no-empty-object-type": "error",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/switch-exhaustiveness-check": [
        "error",
        { considerDefaultExhaustiveForUnions: true, requireDefaultForNonUnion: false },
      ],
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/await-thenable": "error",
      "@typescript-eslint/only-throw-error": "off",
    },
  },
  {
    files: ["packages/*/src/**/*.ts"],
    rules: { "no-restricted-properties": ["error", ...nondeterminism] },
  },
  {
    files: ["packages/*/src/**/*.ts"],
    ignores: ["packages/cli/src/**"],
    rules: {
      "no-restricted-globals": [
        "error",
        { name: "process", message: "Node stays in packages/cli: the rest runs in a browser too." },
        { name: "Buffer", message: "Use Uint8Array: this code runs in a browser too." },
        { name: "require", message: "The packages are ES modules." },
      ],
    },
  },
);
