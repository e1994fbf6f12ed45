import { describe, expect, it } from "vitest";
import { parseSuite, splitWords, SuiteError } from "../suite.js";

describe("the table of a suite", () => {
  it("is sections of keys, with what is not said left at the suite's defaults", () => {
    const rows = parseSuite(`# comment
[plain]
file = plain.flat

[full]
file = full.flat
smp = 3
test_args = "-one* two" 'three  four'
qemu_params = -cpu max,+x2apic -m 2g
arch = i386
check = /a=Y /b=0
groups = vmx nodefault
timeout = 10
`);
    expect(rows).toEqual([
      { name: "plain", file: "plain.flat", smp: 1, testArgs: [], vmmParams: [], arch: undefined, groups: [], checks: [], timeout: 90 },
      {
        name: "full", file: "full.flat", smp: 3, testArgs: ["-one* two", "three  four"],
        vmmParams: ["-cpu", "max,+x2apic", "-m", "2g"], arch: "i386", groups: ["vmx", "nodefault"], checks: ["/a=Y", "/b=0"],
        timeout: 10,
      },
    ]); // prettier-ignore
  });

  it("takes the older name of the options, and values over several lines", () => {
    const [row] = parseSuite('[a]\nfile = a.flat\nextra_params = """-cpu max \\\n -append \'x y\'"""\nsmp = 2\n');
    expect(row).toMatchObject({ vmmParams: ["-cpu", "max", "-append", "x y"], smp: 2 });
  });

  it("puts a fixed time where the suite asks the shell for the clock, and refuses any other command", () => {
    expect(splitWords('"10 `date +%s`"')).toEqual(["10 1700000000"]);
    expect(() => splitWords("`rm -rf x`")).toThrow(SuiteError);
  });

  it.each([
    ["[a]\nsmp = 1\n", "[a]: no file is named"],
    ["[a]\nfile = a\nsmp = many\n", '[a]: smp is "many"'],
    ["[a]\nfile = a\ntimeout = 0\n", '[a]: timeout is "0"'],
    ["file = a\n", 'line 1 of the table: cannot read "file = a"'],
    ["[a]\nwhat\n", 'line 2 of the table: cannot read "what"'],
    ['[a]\nfile = a\nqemu_params = """x\n', "[a] qemu_params: the three quotes are not closed"],
    ['[a]\nfile = a\ntest_args = "x\n', "a quote is not closed in"],
  ])("%j is refused", (text, message) => expect(() => parseSuite(text)).toThrow(message));
});
