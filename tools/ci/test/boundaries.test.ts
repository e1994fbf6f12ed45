import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { checkImports } from "../imports.mjs";

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** What the rules say to a repository of these files. */
async function violationsIn(files: Readonly<Record<string, string>>): Promise<string[]> {
  const root = mkdtempSync(join(tmpdir(), "tapvisor-imports-"));
  folders.push(root);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  const { modules, violations } = await checkImports(["packages"], root);
  expect(modules.map(({ source }) => source).sort()).toEqual(Object.keys(files).sort());
  return violations;
}

const field = 'import type { Owner } from "./owner.js";\nexport interface Field { readonly owner: Owner }\n';
const list = 'import type { Field } from "./field.js";\nexport type List = readonly Field[];\n';
const owner = 'import type { List } from "./list.js";\nexport interface Owner { readonly list: List }\n';

it("sees a circle of type imports, and tells the whole of it once", async () => {
  expect(
    await violationsIn({
      "packages/devices/src/owner.ts": owner,
      "packages/devices/src/list.ts": list,
      "packages/devices/src/field.ts": field,
    }),
  ).toEqual([
    [
      "no-circular: packages/devices/src/field.ts",
      "  imports packages/devices/src/owner.ts",
      "  imports packages/devices/src/list.ts",
      "  imports packages/devices/src/field.ts",
    ].join("\n"),
  ]);
});

it("sees none where the last of them imports nothing back", async () => {
  expect(
    await violationsIn({
      "packages/devices/src/owner.ts": owner,
      "packages/devices/src/list.ts": list,
      "packages/devices/src/field.ts": "export interface Field { readonly name: string }\n",
    }),
  ).toEqual([]);
});

it("sees a file of kvm-core that reaches up to the ioctls, and the MMU that reaches into the emulator", async () => {
  const violations = await violationsIn({
    "packages/kvm-core/src/vcpu.ts": "export class KvmVcpu {}\n",
    "packages/kvm-core/src/emulate/instruction.ts": "export const emulate = () => true;\n",
    "packages/kvm-core/src/mmu/fault.ts": 'export { emulate } from "../emulate/instruction.js";\n',
    "packages/kvm-core/src/mmu/walk.ts":
      'export { emulate } from "../emulate/instruction.js";\nexport type { KvmVcpu } from "../vcpu.js";\n',
  });
  const walk = "packages/kvm-core/src/mmu/walk.ts";
  expect(violations.sort()).toEqual([
    `ioctls-on-top: ${walk} imports packages/kvm-core/src/vcpu.ts`,
    `mmu-below-emulator: ${walk} imports packages/kvm-core/src/emulate/instruction.ts`,
  ]);
});
