import type { UopName } from "./names.generated.js";

export type { UopName };

/** What stands before a suffix in names. */
type Before<S extends string, N extends string = UopName> = N extends `${infer P}${S}` ? P : never;

/** Rows with a second source, by their name without `i` (it is the constant) and width. */
export type BinaryName = Before<"8"> & Before<"32"> & Before<"64"> & Before<"i8"> & Before<"i32"> & Before<"i64">;

/** The same of those that have all 64 bits and leave the flags alone. */
export type ComputeName = Before<"64nf"> & Before<"i64nf">;
