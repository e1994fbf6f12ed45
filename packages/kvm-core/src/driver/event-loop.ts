interface EventLoop {
  readonly setImmediate?: (callback: () => void) => void;
  readonly setTimeout: (callback: () => void, ms: number) => void;
}

/** Let input, abort signals and the page have their turn: one round of the event loop, in Node or a browser. */
export function eventLoopTurn(): Promise<void> {
  const loop = globalThis as unknown as EventLoop;
  return new Promise((resolve) => {
    if (loop.setImmediate !== undefined) loop.setImmediate(resolve);
    else loop.setTimeout(resolve, 0);
  });
}
