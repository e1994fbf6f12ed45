import { expect, it } from "vitest";
import { loadGuestFpu } from "../../src/registers/fpu.js";
import { scriptedVcpu } from "../support/scripted.js";

it("power-on forgets the FPU state that is still in a processor", () => {
  const { vm, vcpu, host } = scriptedVcpu();
  const fresh = vcpu.getFpu();
  for (const processor of host.processors) processor.saveFpu = (image) => void image.fill(0x5a, 0, 512);
  loadGuestFpu(vcpu);
  vm.reset();
  expect(vcpu.getFpu()).toEqual(fresh);
});
