import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

/** The repository. */
export const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));

/** A fenced block of a page. */
export interface Block {
  readonly page: string;
  readonly language: string;
  readonly text: string;
}

/** The pages that are written by hand for users and contributors. */
export function pages(): readonly string[] {
  const guides = readdirSync(join(ROOT, "docs/guides")).map((name) => `docs/guides/${name}`);
  return ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/deviations.md", "examples/README.md", ...guides];
}

export const read = (page: string): string => readFileSync(join(ROOT, page), "utf8");

/** The fenced blocks of a page. */
export function blocksOf(page: string, text = read(page)): readonly Block[] {
  return [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, language = "", body = ""]) => ({
    page,
    language,
    text: body,
  }));
}

/** What the type checker finds wrong in TypeScript blocks, each as a file of its own in a package that has all of ours. */
export function typeErrors(blocks: readonly Block[]): readonly string[] {
  const files = new Map(blocks.map((block, i) => [join(ROOT, `packages/cli/test/block${i}.ts`), block]));
  const { config } = ts.readConfigFile(join(ROOT, "tsconfig.test.json"), (path) => ts.sys.readFile(path)) as {
    config: { readonly [option: string]: unknown };
  };
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files: [] }, ts.sys, ROOT);
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (path) => files.has(path) || fileExists.call(host, path);
  host.getSourceFile = (path, target, ...rest) => {
    const block = files.get(path);
    return block === undefined
      ? getSourceFile.call(host, path, target, ...rest)
      : ts.createSourceFile(path, block.text, target, true);
  };
  const program = ts.createProgram([...files.keys()], options, host);
  return [...files].flatMap(([path, { page }]) => {
    const source = program.getSourceFile(path);
    if (source === undefined) return [`${page}: a block was not read`];
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map(
      ({ messageText }) => `${page}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`,
    );
  });
}

/** What a page names and the repository does not have: scripts of npm, files of `node FILE`, targets of links. */
export function danglingNames(page: string, text = read(page)): readonly string[] {
  const { scripts } = JSON.parse(read("package.json")) as { readonly scripts: Readonly<Record<string, string>> };
  const wrong = [...text.matchAll(/npm run (?:--silent )?([\w:]+)/g)].flatMap(([whole, name = ""]) =>
    Object.hasOwn(scripts, name) ? [] : [whole],
  );
  for (const [whole] of text.matchAll(/(?<=`|^)pnpm \w[\w:-]*/gm)) if (!whole.endsWith(" install")) wrong.push(whole);
  const paths = [
    ...[...text.matchAll(/node (tools\/[\w/.-]+)/g)].map(([, path = ""]) => path),
    ...[...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, path = ""]) => join(dirname(page), path)),
  ];
  return [...wrong, ...paths.filter((path) => !exists(path))].map((what) => `${page}: ${what}`);
}

function exists(path: string): boolean {
  return ts.sys.fileExists(join(ROOT, path)) || ts.sys.directoryExists(join(ROOT, path));
}
