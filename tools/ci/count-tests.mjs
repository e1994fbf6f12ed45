// Print "PASSED FAILED" of a vitest JSON report; "0 1" where the run did not come so far.
import { existsSync, readFileSync } from "node:fs";

const [file] = process.argv.slice(2);
let counts = "0 1";
if (existsSync(file)) {
  const report = JSON.parse(readFileSync(file, "utf8"));
  // A file that does not load has no tests, but it is a failure.
  const unloaded = report.testResults.filter((t) => t.status === "failed" && t.assertionResults.length === 0).length;
  const failed = report.numFailedTests + unloaded;
  counts = `${report.numPassedTests} ${failed === 0 && !report.success ? 1 : failed}`;
}
console.log(counts);
