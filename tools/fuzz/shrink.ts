/**
 * Take pieces from a list for as long as what remains still fails, from halves down to single items.
 *
 * @param failing of several candidates, the first that still fails; all of them may be tried at once
 */
export function shrink<T>(
  items: readonly T[],
  failing: (candidates: readonly (readonly T[])[]) => readonly T[] | undefined,
): readonly T[] {
  let current = items;
  for (let size = current.length >> 1; size > 0;) {
    const candidates: (readonly T[])[] = [];
    for (let at = current.length - size; at > -size; at -= size)
      candidates.push([...current.slice(0, Math.max(at, 0)), ...current.slice(at + size)]);
    const smaller = failing(candidates.filter((candidate) => candidate.length > 0));
    if (smaller === undefined) size >>= 1;
    else {
      current = smaller;
      size = Math.min(size, current.length >> 1) || (current.length > 1 ? 1 : 0);
    }
  }
  return current;
}
