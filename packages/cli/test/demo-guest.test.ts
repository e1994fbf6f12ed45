import { expect, it } from "vitest";
import { writeFileSync } from "node:fs";
import { assembleDemo } from "../src/demo/guest.js";
it("x", () => {
  const b = assembleDemo();
  writeFileSync("/tmp/team/demo.bin", b);
  expect(b.length).toBeGreaterThan(100);
});
