import { DEFAULT_HOST_OPTIONS } from "../../src/contract/index.js";
import type { Host, LogicalProcessor } from "../../src/contract/index.js";
import { testClock } from "./recording-backend.js";

/** A host of `count` processors that can run code on each of them, and nothing else. */
export function recordingHost(count = 2, visited: number[] = []): Host {
  const processors = Array.from({ length: count }, (_, id) => ({ id, online: true })) as unknown as LogicalProcessor[];
  let current = 0;
  return {
    processors,
    clock: testClock(),
    options: DEFAULT_HOST_OPTIONS,
    scheduler: {
      quantumCycles: 1_000_000,
      current: () => processors[current] as LogicalProcessor,
      runOn: (cpu, work) => {
        const was = current;
        current = cpu;
        visited.push(cpu);
        try {
          return work();
        } finally {
          current = was;
        }
      },
    },
  } as Partial<Host> as Host;
}
