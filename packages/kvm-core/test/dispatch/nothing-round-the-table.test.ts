import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { OP_NAMES } from "../../src/contract/index.js";

const PACKAGES = join(import.meta.dirname, "../../..");
const MEMBERS = new Set(OP_NAMES.map((name) => name.replace("pmu_ops.", "")));

function sourcesOf(...packages: string[]): ts.SourceFile[] {
  return packages.flatMap((name) => {
    const root = join(PACKAGES, name, "src");
    return readdirSync(root, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .sort()
      .map((file) => parse(join(root, file), readFileSync(join(root, file), "utf8")));
  });
}

function parse(path: string, text: string): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, true);
}

function everyNode(file: ts.SourceFile, visit: (node: ts.Node) => void): void {
  const walk = (node: ts.Node): void => {
    visit(node);
    ts.forEachChild(node, walk);
  };
  walk(file);
}

function at(node: ts.Node): string {
  const file = node.getSourceFile();
  const { line } = file.getLineAndCharacterOfPosition(node.getStart());
  return `${relative(PACKAGES, file.fileName)}:${String(line + 1)}: ${node.getText()}`;
}

/** `x.ops.get_msr`, `ops.pmu_ops.reset`: a slot of the call table. */
function isSlot(node: ts.Node): node is ts.PropertyAccessExpression {
  return (
    ts.isPropertyAccessExpression(node) &&
    MEMBERS.has(node.name.text) &&
    /(^|\.)(ops|calls|coreCalls|backendCalls|pmu_ops)$/.test(node.expression.getText())
  );
}

/** Is the slot only looked at: in a condition, or compared with undefined? */
function asksFor(parent: ts.Node, slot: ts.Node): boolean {
  if (ts.isIfStatement(parent)) return parent.expression === slot;
  if (ts.isConditionalExpression(parent)) return parent.condition === slot;
  return (
    ts.isBinaryExpression(parent) &&
    /^[!=]==$/.test(parent.operatorToken.getText()) &&
    [parent.left, parent.right].some((side) => side.getText() === "undefined")
  );
}

/** Called where it is read, or asked for: whatever else is done with a function out of the table keeps a copy of it. */
function copiesOf(file: ts.SourceFile): ts.Node[] {
  const copies: ts.Node[] = [];
  everyNode(file, (node) => {
    if (isSlot(node)) {
      const { parent } = node;
      const called = ts.isCallExpression(parent) && parent.expression === node;
      const asked = asksFor(parent, node);
      // A backend fills its own table in hardware_setup.
      const assigned = ts.isBinaryExpression(parent) && parent.operatorToken.kind === ts.SyntaxKind.EqualsToken && parent.left === node; // prettier-ignore
      if (!called && !asked && !assigned) copies.push(parent);
    }
    if (
      ts.isVariableDeclaration(node) &&
      ts.isObjectBindingPattern(node.name) &&
      /(^|\.)(ops|pmu_ops)$/.test(node.initializer?.getText() ?? "") &&
      node.name.elements.some((element) => MEMBERS.has((element.propertyName ?? element.name).getText()))
    ) {
      copies.push(node);
    }
  });
  return copies;
}

/** Functions that a table of ops names as `f.name`, by name. */
function implementationsIn(table: ts.SourceFile): Set<string> {
  const names = new Set<string>();
  everyNode(table, (node) => {
    if (ts.isPropertyAccessExpression(node) && node.expression.getText() === "f") names.add(node.name.text);
  });
  return names;
}

/** Uses of op functions by name, apart from their declaration, their re-export and the table. */
function usesOf(names: ReadonlySet<string>, file: ts.SourceFile): ts.Node[] {
  const uses: ts.Node[] = [];
  everyNode(file, (node) => {
    if (!ts.isIdentifier(node) || !names.has(node.text)) return;
    const { parent } = node;
    const declared = (ts.isFunctionDeclaration(parent) || ts.isVariableDeclaration(parent)) && parent.name === node;
    const reexported = ts.isExportSpecifier(parent);
    if (!declared && !reexported) uses.push(parent);
  });
  return uses;
}

describe("nothing goes round the call table", () => {
  it("keeps no function out of it, in the core or in a backend", () => {
    // The table itself is where functions are put into slots.
    const table = join("kvm-core", "src", "dispatch");
    const files = sourcesOf("kvm-core", "arch-vmx", "arch-svm-stub").filter((file) => !file.fileName.includes(table));
    expect(files.length).toBeGreaterThan(50);
    let slots = 0;
    for (const file of files) everyNode(file, (node) => void (isSlot(node) && slots++));
    expect(slots).toBeGreaterThan(30);
    expect(files.flatMap(copiesOf).map(at)).toEqual([]);
  });

  it("has arch-vmx call its own ops through it, and never a function of vmx_x86_ops", () => {
    const files = sourcesOf("arch-vmx");
    const table = files.find((file) => file.fileName.endsWith("vmx-ops.ts"));
    if (table === undefined) throw new Error("vmx-ops.ts is gone");
    const names = implementationsIn(table);
    expect(names.size).toBeGreaterThan(90);
    const uses = files.filter((file) => file !== table).flatMap((file) => usesOf(names, file));
    expect(uses.map(at)).toEqual([]);
  });

  it("would be noticed", () => {
    const copies = (text: string) => copiesOf(parse("x.ts", text)).length;
    expect(copies("const read = kvm.ops.get_msr;")).toBe(1);
    expect(copies("keep(kvm.ops.set_cr3);")).toBe(1);
    expect(copies("const { get_msr } = vcpu.kvm.ops;")).toBe(1);
    expect(copies("kvm.ops.get_msr(vcpu, msr); kvm.ops.update_cr8_intercept?.(vcpu, 0, 0);")).toBe(0);
    expect(copies("if (ops.set_hv_timer !== undefined) ops.set_hv_timer(vcpu, 0n);")).toBe(0);
    expect(copies("if (ops.flush_log_dirty) ops.flush_log_dirty(vm);")).toBe(0);
    expect(copies("const flush = enabled ? ops.flush_log_dirty : nothing;")).toBe(1);
    const names = new Set(["vmxGetMsr"]);
    expect(usesOf(names, parse("x.ts", "export function vmxGetMsr() {}"))).toHaveLength(0);
    expect(usesOf(names, parse("x.ts", "function handleRdmsr() { return vmxGetMsr(); }"))).toHaveLength(1);
    expect(usesOf(names, parse("x.ts", 'import { vmxGetMsr } from "./msr.js";'))).toHaveLength(1);
  });
});
