import type { HostClock } from "../host/index.js";
import {
  checkInterceptor,
  describeOp,
  forEachOp,
  InterceptorError,
  isLifecycleName,
  isOpName,
  KvmError,
  LIFECYCLE_HOOKS,
  OP_NAMES,
  opField,
} from "../contract/index.js";
import type {
  Attachment,
  Interceptor,
  InterceptorScope,
  KvmX86Ops,
  LifecycleEvents,
  LifecycleName,
  OpCaller,
  OpCallerKind,
  OpName,
  ScopeKind,
  Vm,
} from "../contract/index.js";
import { createLifecycleHooks, type LifecycleHooks } from "../hooks/lifecycle-hook.js";
import { OpCallRecord, type AnyArgs, type AnyOp } from "../hooks/op-call-record.js";
import { OpHook } from "../hooks/op-hook.js";
import { HandlerFrames, MAX_NESTED_DEPTH, Owner } from "../hooks/owner.js";
import type { BoundOps } from "./bound-ops.js";
import { X86OpCalls } from "./op-calls.generated.js";
import { narrowestScope, whoseCall, type WhoseCall } from "./op-scope.js";

/** The hooks of a core: one per op, and one per kind of event. */
export interface CoreHooks {
  readonly ops: { readonly [N in OpName]: OpHook };
  readonly events: LifecycleHooks;
}

/** What the table says about an op. */
export interface OpStatus {
  /** `absent`: the backend leaves it out; `unbound`: there is no backend. */
  readonly binding: "bound" | "absent" | "unbound";
  /** Names of the interceptors that are attached, in the order in which they are heard. */
  readonly attached: readonly string[];
}

/**
 * The call table of one core. A slot holds the backend's function itself while nobody intercepts the op, so that a call
 * is a direct call, as static_call makes it in the kernel; the first interceptor binds the op's hook into the slot, and
 * the last one to leave binds the function back.
 *
 * The core and the backend have a table each over the same slots: that is how a call knows who made it, at no cost.
 */
export class OpDispatch {
  readonly hooks: CoreHooks;
  readonly #core = new X86OpCalls();
  readonly #backend = new X86OpCalls();
  readonly #slots: { readonly [N in OpName]: Slot } = forEachOp((name) => new Slot(name));
  readonly #frames = new HandlerFrames();
  readonly #owners = new WeakMap<Interceptor, Owner>();
  readonly #clock: HostClock;
  #state: "unbound" | "bound" | "frozen" = "unbound";

  constructor(clock: HostClock) {
    this.#clock = clock;
    this.hooks = Object.freeze({
      ops: Object.freeze(forEachOp((name) => this.#slots[name].hook)),
      events: createLifecycleHooks(),
    });
  }

  /** The table through which the generic layer calls: keep it, never a function of it. */
  get coreCalls(): OpCaller {
    return this.#core;
  }

  /** The table through which the backend calls its own ops. */
  get backendCalls(): OpCaller {
    return this.#backend;
  }

  get isBound(): boolean {
    return this.#state !== "unbound";
  }

  /** Put a backend's functions into the slots. Throws EINVAL, with nothing bound, where one is missing. */
  bind(backendName: string, ops: KvmX86Ops): void {
    if (this.isBound) throw new KvmError("EEXIST", "kvm_init", "a backend is registered already");
    const functions = functionsOf(backendName, ops);
    for (const slot of Object.values(this.#slots)) slot.implementation = functions.get(slot.op);
    this.#state = "bound";
    this.#bindAll();
  }

  /** After `hardware_setup`: take what the backend left of its optional ops. Nothing changes from now on. */
  freeze(backendName: string, ops: KvmX86Ops): void {
    if (this.#state !== "bound") throw new KvmError("EINVAL", "kvm_init", `the call table is ${this.#state}`);
    const functions = functionsOf(backendName, ops);
    this.#state = "frozen";
    for (const slot of Object.values(this.#slots)) {
      const implementation = functions.get(slot.op);
      if (implementation === slot.implementation) continue;
      slot.implementation = implementation;
      this.#bindSlot(slot);
    }
  }

  /** Take the backend's functions out again. */
  unbind(): void {
    for (const slot of Object.values(this.#slots)) slot.implementation = undefined;
    this.#state = "unbound";
    this.#bindAll();
  }

  status(name: OpName): OpStatus {
    const slot = this.#slots[name];
    const absent = slot.implementation === undefined;
    return {
      binding: !this.isBound ? "unbound" : absent ? "absent" : "bound",
      attached: slot.hook.attached(),
    };
  }

  /**
   * Attach an interceptor: to the whole core, to one VM or to one vCPU. It takes effect at the next call.
   *
   * @throws InterceptorError where a name is unknown, a handler is none, or an op or hook has no argument that the
   * scope could be told by; then nothing is attached.
   */
  attach(interceptor: Interceptor, scope?: InterceptorScope): Attachment {
    checkInterceptor(interceptor);
    checkScope(interceptor, scope);
    const owner = this.#ownerOf(interceptor);
    const order = { name: interceptor.name, stage: interceptor.stage, before: interceptor.before };
    const detach: (() => void)[] = [];
    for (const [name, handlers] of Object.entries(interceptor.ops ?? {})) {
      if (!isOpName(name)) continue;
      const slot = this.#slots[name];
      const leave = slot.hook.attach(order, owner, scope, handlers);
      this.#bindSlot(slot);
      detach.push(() => {
        leave();
        this.#bindSlot(slot);
      });
    }
    for (const [name, handler] of Object.entries(interceptor.hooks ?? {})) {
      if (isLifecycleName(name)) detach.push(this.#listen(name, order, owner, scope, handler));
    }
    return Object.freeze({
      interceptor,
      dispose: () => {
        for (const one of detach.splice(0)) one();
      },
    });
  }

  #listen<N extends LifecycleName>(
    name: N,
    order: { readonly name: string },
    owner: Owner,
    scope: InterceptorScope | undefined,
    handler: unknown,
  ): () => void {
    return this.hooks.events[name].attach(order, owner, scope, handler as (event: LifecycleEvents[N]) => void);
  }

  #ownerOf(interceptor: Interceptor): Owner {
    const known = this.#owners.get(interceptor);
    if (known !== undefined) return known;
    const owner = new Owner(interceptor, this.#frames);
    this.#owners.set(interceptor, owner);
    return owner;
  }

  #bindAll(): void {
    this.#core.bind(forEachOp((name) => this.#boundTo(this.#slots[name], "core")) as BoundOps);
    this.#backend.bind(forEachOp((name) => this.#boundTo(this.#slots[name], "backend")) as BoundOps);
  }

  #bindSlot(slot: Slot): void {
    if (!this.isBound) return;
    setField(this.#core, slot.op, this.#boundTo(slot, "core"));
    setField(this.#backend, slot.op, this.#boundTo(slot, "backend"));
  }

  /** What belongs into a slot now. */
  #boundTo(slot: Slot, caller: OpCallerKind): AnyOp | undefined {
    if (!this.isBound) return undefined;
    const implementation = slot.implementation ?? slot.whenAbsent;
    if (implementation === undefined || !slot.hook.used) return implementation;
    return (...args: AnyArgs) => this.#intercepted(slot, implementation, caller, args);
  }

  #intercepted(slot: Slot, implementation: AnyOp, caller: OpCallerKind, args: AnyArgs): unknown {
    const { depth } = this.#frames;
    if (depth > MAX_NESTED_DEPTH) return implementation(...args);
    const { vm, vcpu } = slot.whose(args);
    const number = ++slot.calls;
    const vmNumber = vm === undefined ? 0 : slot.countFor(vm);
    const { op, hook } = slot;
    const time = this.#clock.now();
    return hook.call(
      new OpCallRecord(op, number, vmNumber, vm, vcpu, time, caller, depth, args, implementation, this.#clock),
    );
  }
}

/** What the table keeps about one op. */
class Slot {
  readonly hook: OpHook;
  /** Whose call it is, read off the arguments. */
  readonly whose: WhoseCall;
  /** What an op of kind `ret0` does where the backend leaves it out. */
  readonly whenAbsent: AnyOp | undefined;
  implementation: AnyOp | undefined = undefined;
  /** Calls that were seen. */
  calls = 0;
  readonly #perVm = new WeakMap<Vm, { count: number }>();

  constructor(readonly op: OpName) {
    const { kind, result } = describeOp(op);
    this.hook = new OpHook(op);
    this.whose = whoseCall(op);
    this.whenAbsent = kind === "ret0" ? (result === "boolean" ? () => false : () => undefined) : undefined;
  }

  countFor(vm: Vm): number {
    const counter = this.#perVm.get(vm);
    if (counter !== undefined) return ++counter.count;
    this.#perVm.set(vm, { count: 1 });
    return 1;
  }
}

/** Every function of a backend under the op's name; EINVAL names what is missing, no function, or unknown. */
function functionsOf(backendName: string, ops: KvmX86Ops): Map<OpName, AnyOp | undefined> {
  const refuse = (detail: string): never => {
    throw new KvmError("EINVAL", "kvm_init", `backend "${backendName}": ${detail}`);
  };
  const { pmu_ops: pmuOps, ...top } = ops;
  if (typeof pmuOps !== "object" || pmuOps === null) refuse("pmu_ops must be an object");
  const given = new Map<string, unknown>(Object.entries(top));
  for (const [name, value] of Object.entries(pmuOps)) given.set(`pmu_ops.${name}`, value);

  const unknown = [...given.keys()].filter((name) => !isOpName(name));
  if (unknown.length > 0) refuse(`the contract has no ${unknown.join(", ")}`);
  const missing = OP_NAMES.filter((name) => given.get(name) === undefined && describeOp(name).kind === "op");
  if (missing.length > 0) refuse(`lacks ${missing.join(", ")}`);

  const functions = new Map<OpName, AnyOp | undefined>();
  for (const name of OP_NAMES) {
    const value = given.get(name);
    if (value !== undefined && typeof value !== "function") refuse(`${name} must be a function, got ${typeof value}`);
    functions.set(name, value as AnyOp | undefined);
  }
  return functions;
}

function setField(calls: X86OpCalls, op: OpName, value: AnyOp | undefined): void {
  const { table, member } = opField(op);
  const fields: object = table === "pmu_ops" ? calls.pmu_ops : calls;
  (fields as { [M in typeof member]: AnyOp | undefined })[member] = value;
}

/** Refuse an attachment that could not tell its calls from others'. */
function checkScope(interceptor: Interceptor, scope: InterceptorScope | undefined): void {
  if (scope === undefined) return;
  const wanted: ScopeKind = scope.vcpu === undefined ? "vm" : "vcpu";
  const refuse = (what: string, name: string, narrowest: ScopeKind): never => {
    const detail = `${what} ${name} cannot be limited to one ${wanted}: its narrowest scope is ${narrowest}`;
    throw new InterceptorError("ERR_INTERCEPTOR_SCOPE", interceptor.name, detail);
  };
  for (const name of Object.keys(interceptor.ops ?? {})) {
    if (!isOpName(name)) continue;
    const narrowest = narrowestScope(name);
    if (!includes(narrowest, wanted)) refuse("op", name, narrowest);
  }
  for (const name of Object.keys(interceptor.hooks ?? {})) {
    if (!isLifecycleName(name)) continue;
    const narrowest = LIFECYCLE_HOOKS[name].scope;
    if (!includes(narrowest, wanted)) refuse("hook", name, narrowest);
  }
}

const WIDTH: { readonly [S in ScopeKind]: number } = { core: 0, vm: 1, vcpu: 2 };

function includes(narrowest: ScopeKind, wanted: ScopeKind): boolean {
  return WIDTH[wanted] <= WIDTH[narrowest];
}
