/**
 * When a piece of state goes back to what it was made with (SDM vol. 3, "Processor State After Reset" and "Processor
 * State After INIT"): at power-on and INIT, at power-on alone, or by neither, being user space's, the host's, or set by
 * who owns it (the reason is at the field).
 */
export type ResetAt = "reset" | "power-on" | "never";

/** One such decision for each field, so that a new one cannot be forgotten. */
export type ResetTable<T extends object> = { readonly [F in Exclude<keyof T, FunctionFields<T>>]: ResetAt };

type FunctionFields<T> = { [F in keyof T]: T[F] extends (...args: never[]) => unknown ? F : never }[keyof T];

/**
 * Bring the fields of `state` back that the table names.
 *
 * @param initial the same state as it is made
 * @param initEvent INIT, which keeps more than power-on does
 */
export function resetFields<T extends object>(state: T, initial: T, table: ResetTable<T>, initEvent: boolean): void {
  for (const [name, at] of Object.entries(table) as [keyof T, ResetAt][]) {
    if (at === "never" || (at === "power-on" && initEvent)) continue;
    const value = initial[name];
    // Objects stay the same ones: others hold them.
    if (typeof value === "object" && value !== null) copyInto(state[name] as object, value);
    else state[name] = value;
  }
}

function copyInto(target: object, source: object): void {
  if (ArrayBuffer.isView(target)) {
    (target as Uint8Array).set(source as Uint8Array);
  } else if (target instanceof Map) {
    target.clear();
    for (const [key, value] of source as Map<unknown, unknown>) target.set(key, value);
  } else {
    for (const [key, value] of Object.entries(source)) {
      if (typeof value === "object" && value !== null) copyInto(Reflect.get(target, key) as object, value as object);
      else Reflect.set(target, key, value);
    }
  }
}
