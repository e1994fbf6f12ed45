// Every generated file that is committed, with the command that writes it. CI runs them all and compares.

/** @type {readonly { command: string[], outputs: string[] }[]} */
export const generators = [];
