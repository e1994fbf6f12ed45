/** A table of named values, as every file of this folder declares them. */
export type NamedValues<V extends number | bigint> = Readonly<Record<string, V>>;

/**
 * The names of a table by value, in order of declaration. Where two names share a value the first one stands: an alias
 * is declared after the name that the manual prefers.
 */
export function namesByValue<V extends number | bigint>(table: NamedValues<V>): ReadonlyMap<V, string> {
  const names = new Map<V, string>();
  for (const [name, value] of Object.entries(table)) if (!names.has(value)) names.set(value, name);
  return names;
}

/** Names of the single bits of `table` that are set in `value`, in order of declaration. */
export function bitNames<V extends number | bigint>(table: NamedValues<V>, value: V): string[] {
  const bits = BigInt(value);
  return Object.entries(table)
    .filter(([, bit]) => bit !== 0n && bit !== 0 && (bits & BigInt(bit)) === BigInt(bit))
    .map(([name]) => name);
}
