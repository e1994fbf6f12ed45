import { describe, expect, it } from "vitest";
import { file, missing, tapvisor } from "./support/command.js";
import { debugExit, elf, kernel } from "./support/kernels.js";

const good = file(
  "good.elf",
  kernel((a) => debugExit(a, 0)),
);

/** The command fails with status 2 and one line that says `what`, before anything runs. */
async function refused(args: readonly string[], what: RegExp) {
  const { status, output, errors } = await tapvisor(args);
  expect(errors).toMatch(what);
  expect(errors).toMatch(/^tapvisor: [^\n]+\n$/);
  expect([status, output]).toEqual([2, ""]);
}

describe("wrong usage: one line, status 2", () => {
  it("an unknown command", () => refused(["frobnicate"], /unknown command 'frobnicate'/));
  it("an unknown flag", () => refused(["run", good, "--bogus"], /unknown option '--bogus'/));
  it("no image", () => refused(["run"], /missing required argument 'image'/));
  it("two images", () => refused(["run", good, good], /too many arguments/));
  it("a flag without its value", () => refused(["run", good, "--report"], /argument missing/));
  it.each(["0", "4X", "", "64K", "1025K", "4G", "-1M", "1e3M"])("--memory %j", (size) =>
    refused(["run", good, `--memory=${size}`], /--memory is .*: must be 1M to 3G in whole MiB/),
  );
  it.each(["0", "-1", "1.5", "many", "1e99"])("--max-instructions %j", (count) =>
    refused(["run", good, `--max-instructions=${count}`], /--max-instructions is .*must be a count from 1 on/),
  );
  it.each(["0", "65", "x"])("--smp %j", (cpus) => refused(["run", good, "--smp", cpus], /--smp is "/));
  it("an unknown processor, with a list of what there is", () =>
    refused(["run", good, "--cpu", "z80"], /no profile "z80"; there are: skylake-server, epyc/));
  it("an unknown property or vendor of a processor", async () => {
    await refused(
      ["run", good, "--cpu", "skylake-server,speed=9"],
      /no property "speed"; there are: vendor, phys-bits, -FEATURE/,
    );
    await refused(["run", good, "--cpu", "skylake-server,-warp"], /CPUID has no feature "warp"/);
    await refused(["run", good, "--cpu", "skylake-server,phys-bits=64"], /phys-bits is "64": must be 32 to 52/);
    await refused(["run", good, "--cpu", "skylake-server,vendor=Zilog"], /must be one of GenuineIntel, AuthenticAMD/);
  });
  it("an unknown backend, with a list of what there is", () =>
    refused(["run", good, "--backend", "hax"], /must be one of vmx, svm/));
  it("an unknown format", () => refused(["run", good, "--format", "pe"], /must be one of multiboot, real, long/));
  it("an op to trace that does not exist, with a guess and the list", () =>
    refused(
      ["run", good, "--trace=get_mrs"],
      /unknown op "get_mrs" \(did you mean get_msr.*there are: cpu_has_kvm_support, /,
    ));
  it("an op to list that does not exist", () => refused(["ops", "nope"], /unknown op "nope".*there are: /));
});

describe("wrong input: one line, status 2", () => {
  const code = kernel((a) => debugExit(a, 0), { addressFields: false });

  it("not an ELF that is whole", async () => {
    expect((await tapvisor(["run", file("whole.elf", elf(code))])).status).toBe(1);
  });

  it("a missing image, initrd or plugin, and a folder in its place", async () => {
    await refused(["run", missing("none")], /image .*none: no such file/);
    await refused(["run", good, "--initrd", missing("none")], /--initrd .*none: no such file/);
    await refused(["run", good, "--plugin", missing("none.mjs")], /--plugin .*none.mjs: no such file/);
    await refused(["run", "."], /image \.: is a directory/);
  });

  it("a file that is no image", () =>
    refused(["run", file("text", "hello")], /format of the image is unknown: must be an ELF file/));

  it("an ELF that is truncated, naming the field, its value and the rule", () =>
    refused(
      ["run", file("cut.elf", elf(code).subarray(0, 100))],
      /end of program header 0 \(p_offset \+ p_filesz\) is 0x[0-9a-f]+: must lie within the file of 100 bytes/,
    ));

  it("a segment beyond memory", () => {
    const image = elf(code);
    new DataView(image.buffer).setUint32(72, 2 << 20, true);
    return refused(
      ["run", file("big.elf", image), "--memory", "2M"],
      /end of program header 0 is 0x300000: must lie within guest memory of 0x200000 bytes/,
    );
  });

  it("a module beyond memory", () =>
    refused(["run", good, "--memory", "2M", "--initrd", file("big", new Uint8Array(2 << 20))], /end of module 0 is /));
});

describe("a wrong plugin: one line, status 2", () => {
  const plugin = (name: string, text: string) => ["run", good, "--plugin", file(name, text)];

  it("that names an op which does not exist, with a guess and the list", () =>
    refused(
      plugin("op.mjs", `export default { name: "typo", ops: { get_mrs: { before() {} } } };`),
      /interceptor "typo": unknown op "get_mrs" \(did you mean get_msr.*there are: cpu_has_kvm_support, .*get_msr/,
    ));
  it("that names a hook which does not exist", () =>
    refused(
      plugin("hook.mjs", `export default { name: "typo", hooks: { vmMade() {} } };`),
      /unknown hook "vmMade".*vmCreated/,
    ));
  it("whose handler is no function", () =>
    refused(
      plugin("shape.mjs", `export const a = { name: "a", ops: { get_msr: { before: 1 } } };`),
      /must be a function/,
    ));
  it("that has no name", () => refused(plugin("noname.mjs", `export default { ops: {} };`), /name must be a string/));
  it("that exports no interceptor", () =>
    refused(plugin("empty.mjs", `export const x = 1;`), /exports no interceptor/));
  it("that is no module", () => refused(plugin("syntax.mjs", `export default {`), /--plugin .*syntax.mjs: \w*Error: /));
  it("that fails while it is loaded", () => refused(plugin("throws.mjs", `throw new Error("no");`), /Error: no/));
});

describe("a host that fails: one line, status 4", () => {
  const failed = async (args: readonly string[], what: RegExp) => {
    const { status, errors } = await tapvisor(args);
    expect(errors).toMatch(what);
    expect(errors.trim().split("\n")).toHaveLength(1);
    expect(status).toBe(4);
  };

  it("a backend that the processor does not support", () =>
    failed(["run", good, "--backend", "svm"], /EOPNOTSUPP: svm: no hardware support/));
  it("the AMD processor, whose backend makes no vCPU yet, naming the op", () =>
    failed(["run", good, "--cpu", "epyc"], /ENOSYS.*vcpu_create/));
  it("a plugin that fails an op that the run needs", () =>
    failed(
      [
        "run",
        good,
        "--plugin",
        file("fail.mjs", `export default { name: "f", ops: { run: { before() { throw new TypeError("oops"); } } } };`),
      ],
      /interceptor "f".*oops/,
    ));
});
