export { createMachine, STOCK_BACKENDS, type StockMachineOptions } from "./machine.js";
export { main } from "./main.js";
export { outcomeOf, type ReportedStop, type RunReport } from "./report.js";
export { Statistics, tracer } from "./statistics.js";
export { SerialTerminal, type TerminalStreams } from "./terminal.js";
export type { CommandStreams } from "./commands/run.js";
