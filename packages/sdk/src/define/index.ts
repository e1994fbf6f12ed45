export { defineArchBackend, defineDevice, defineInterceptor } from "@tapvisor/kvm-core/contract";
export type {
  ArchBackend,
  Attachment,
  ByteSink,
  Device,
  DeviceContext,
  DeviceDefinition,
  DeviceEnvironment,
  DeviceFactory,
  Interceptor,
  InterceptorScope,
  IrqLine,
  LifecycleEvents,
  LifecycleName,
  OpCall,
  OpCallAfter,
  OpCallBefore,
  OpHandlers,
  OpName,
  OpNext,
  OpObserver,
} from "@tapvisor/kvm-core/contract";
export { onEveryOp, type EveryOpHandlers } from "./every-op.js";
