import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { checkInterceptor, type Interceptor } from "@tapvisor/kvm-core";
import { readInput } from "./arguments.js";
import { UsageError } from "./errors.js";

/**
 * The interceptors that an ES module exports, by default or by name, alone or in arrays. Every one is checked before a
 * machine is made.
 */
export async function loadPlugin(path: string): Promise<readonly Interceptor[]> {
  readInput("--plugin", path);
  let module: Readonly<Record<string, unknown>>;
  try {
    module = (await import(pathToFileURL(resolve(path)).href)) as Readonly<Record<string, unknown>>;
  } catch (error) {
    const { name, message } = error as Error;
    throw new UsageError(`--plugin ${path}: ${name}: ${message}`, { cause: error });
  }
  const found = new Set(Object.values(module).flat().filter(isInterceptorLike));
  if (found.size === 0)
    throw new UsageError(`--plugin ${path}: exports no interceptor, an object with "name" and "ops" or "hooks"`);
  for (const interceptor of found) checkInterceptor(interceptor);
  return [...found];
}

function isInterceptorLike(value: unknown): value is Interceptor {
  return typeof value === "object" && value !== null && ("ops" in value || "hooks" in value);
}
