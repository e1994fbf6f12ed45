export { defineArchBackend, defineInterceptor } from "@tapvisor/kvm-core/contract";
export type {
  ArchBackend,
  Attachment,
  Interceptor,
  InterceptorScope,
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
