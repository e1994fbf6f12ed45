// pnpm record [SUITES]: records all vectors, or those of suites like vector-64 that match a regular expression.
import { importSource } from "../source/run-source.mjs";

const { record } = await importSource(new URL("./record.ts", import.meta.url));
record((line) => console.log(line), new RegExp(process.argv[2] ?? "."));
