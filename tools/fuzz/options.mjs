import { Command } from "commander";
import { positiveNumber, wholeNumber } from "../source/arguments.mjs";

/**
 * The options that both fuzzers take; each adds its own.
 *
 * @param {string} name
 * @param {string} description
 * @param {{ what: string, cases: number }} generated what a seed makes, and how many by default
 */
export function fuzzerCommand(name, description, { what, cases }) {
  return new Command(name)
    .description(description)
    .option("--seed <number>", `the same seed makes the same ${what}s`, wholeNumber, 1)
    .option("--cases <number>", `${what}s`, positiveNumber, cases)
    .option("--first <number>", `number of the first ${what}`, wholeNumber, 0)
    .option("--mismatches <number>", "stop after so many", positiveNumber, 5);
}
