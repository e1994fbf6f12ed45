import { describe, expect, it } from "vitest";
import { defineArchBackend, defineInterceptor, InterceptorError, KvmError } from "../../src/contract/index.js";
import type { ArchBackend, KvmX86Ops } from "../../src/contract/index.js";
import type { KvmCore } from "../../src/core.js";
import type { GenericLayer } from "../../src/init.js";
import {
  assemble,
  BACKEND,
  inject,
  injectable,
  injectAll,
  registerCore,
  Registry,
  token,
  type CoreParts,
} from "../../src/registry/index.js";
import { recordingOps } from "../support/recording-backend.js";
import { recordingHost } from "../support/recording-host.js";

function backendOf(name: string, supported: boolean, change: (ops: KvmX86Ops) => void = () => undefined): ArchBackend {
  return defineArchBackend({
    name,
    vendor: "test",
    create: () => {
      const ops = recordingOps([]);
      ops.cpu_has_kvm_support = () => supported;
      ops.check_processor_compatibility = () => true;
      change(ops);
      return { ops };
    },
  });
}

function compose(parts: Omit<CoreParts, "host">): KvmCore {
  const nothing = () => undefined;
  const layer: GenericLayer = {
    exports: {} as GenericLayer["exports"],
    archInit: nothing,
    archExit: nothing,
    hardwareSetup: nothing,
  };
  return assemble(registerCore({ host: recordingHost(), ...parts }), (core) => ({ core, layer })).core;
}

describe("discovery of backends", () => {
  const no = backendOf("no", false);
  const yes = backendOf("yes", true);
  const too = backendOf("too", true);

  it("takes the first that probes successfully, in order of registration", () => {
    expect(compose({ backends: [no, yes, too] }).backend?.name).toBe("yes");
    expect(compose({ backends: [too, no, yes] }).backend?.name).toBe("too");
  });

  it("takes the one asked for by name", () => {
    expect(compose({ backends: [yes, too], options: { backend: "too" } }).backend?.name).toBe("too");
  });

  it("does not fall back from the one asked for", () => {
    expect(() => compose({ backends: [no, yes], options: { backend: "no" } })).toThrow(
      expect.objectContaining({ code: "EOPNOTSUPP" }),
    );
  });

  it("names what there is where the one asked for is not there", () => {
    expect(() => compose({ backends: [no, yes], options: { backend: "vmx" } })).toThrow(/"vmx"; there are: no, yes/);
  });

  it("refuses an empty list, and two of one name", () => {
    expect(() => compose({ backends: [] })).toThrow(expect.objectContaining({ code: "ENODEV" }));
    expect(() => compose({ backends: [yes, backendOf("yes", true)] })).toThrow(
      expect.objectContaining({ code: "EEXIST" }),
    );
  });

  it("says why each refused where none supports the processor", () => {
    const other = backendOf("other", false);
    expect(() => compose({ backends: [no, other] })).toThrow(/no: no hardware support.*other: no hardware support/);
  });

  it("does not go on to the next when one fails after its probe", () => {
    const broken = backendOf("broken", true, (ops) => {
      ops.hardware_setup = () => {
        throw new KvmError("EIO", "hardware_setup");
      };
    });
    expect(() => compose({ backends: [broken, yes] })).toThrow(expect.objectContaining({ code: "EIO" }));
  });

  it("lets a plugin add, remove and reorder, and tells which was chosen", () => {
    const chosen: string[] = [];
    const plugin = defineInterceptor({
      name: "chooser",
      hooks: {
        discoverBackends: (event) => {
          event.backends = [too, ...event.backends.filter((backend) => backend !== yes)];
        },
        backendChosen: ({ backend }) => void chosen.push(backend.name),
      },
    });
    expect(compose({ backends: [yes], interceptors: [plugin] }).backend).toBe(too);
    expect(chosen).toEqual(["too"]);
  });

  it("attaches interceptors before the first op, so that each op can be intercepted", () => {
    const seen: string[] = [];
    const plugin = defineInterceptor({
      name: "early",
      ops: {
        cpu_has_kvm_support: { observe: ({ op }) => void seen.push(op) },
        hardware_setup: { observe: ({ op }) => void seen.push(op) },
      },
    });
    compose({ backends: [yes], interceptors: [plugin] });
    expect(seen).toEqual(["cpu_has_kvm_support", "hardware_setup"]);
  });

  it("lets out the error of a plugin's unknown op as it was thrown", () => {
    const plugin = { name: "typo", ops: { get_mrs: {} } };
    expect(() => compose({ backends: [yes], interceptors: [plugin as object as { name: string }] })).toThrow(
      InterceptorError,
    );
  });

  it("keeps two cores apart, each with a backend of its own", () => {
    const one = compose({ backends: [yes] });
    const two = compose({ backends: [too] });
    expect([one.backend?.name, two.backend?.name]).toEqual(["yes", "too"]);
    const seen: string[] = [];
    one.attach(defineInterceptor({ name: "one", ops: { get_tdp_level: { observe: () => void seen.push("one") } } }));
    two.ops.get_tdp_level();
    expect(seen).toEqual([]);
    one.ops.get_tdp_level();
    expect(seen).toEqual(["one"]);
  });
});

describe("the registry", () => {
  const NUMBER = token<number>("Number");
  const PAIR = token<Pair>("Pair");
  const OUTER = token<Outer>("Outer");

  @injectable()
  class Pair {
    constructor(
      @inject(NUMBER) readonly one: number,
      @injectAll(BACKEND) readonly backends: readonly ArchBackend[],
    ) {
      if (one < 0) throw new KvmError("EINVAL", "pair", "negative", { cause: new TypeError("root") });
    }
  }

  @injectable()
  class Outer {
    constructor(@inject(PAIR) readonly pair: Pair) {}
  }

  it("injects by token, an empty list where nothing is registered", () => {
    const outer = new Registry().value(NUMBER, 7).class(PAIR, Pair).class(OUTER, Outer).one(OUTER);
    expect(outer.pair.one).toBe(7);
    expect(outer.pair.backends).toEqual([]);
  });

  it("makes each once", () => {
    const registry = new Registry().value(NUMBER, 7).class(PAIR, Pair).class(OUTER, Outer);
    expect(registry.one(OUTER).pair).toBe(registry.one(PAIR));
  });

  it("lets an error out with its class and cause, however deep it was thrown", () => {
    const registry = new Registry().value(NUMBER, -1).class(PAIR, Pair).class(OUTER, Outer);
    let thrown: unknown;
    try {
      registry.one(OUTER);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(KvmError);
    expect(thrown).toMatchObject({ code: "EINVAL", syscall: "pair", cause: new TypeError("root") });
  });

  it("names the token that nothing provides", () => {
    expect(() => new Registry().one(NUMBER)).toThrow(/nothing provides Number/);
    expect(new Registry().all(NUMBER)).toEqual([]);
  });
});
