import { expect, it } from "vitest";
import { REQUEST } from "../../src/contract/index.js";
import { makeRequest } from "../../src/requests.js";
import { scriptedVcpu } from "../support/scripted.js";

it("a reset drops what waited for the guest, and keeps what the host's tables need", () => {
  const { vm, vcpu } = scriptedVcpu();
  for (const request of [REQUEST.TRIPLE_FAULT, REQUEST.NMI, REQUEST.PMI, REQUEST.TLB_FLUSH]) makeRequest(vcpu, request);
  vm.reset();
  const has = (request: number): boolean => (vcpu.arch.requests & (1 << request)) !== 0;
  expect([REQUEST.TRIPLE_FAULT, REQUEST.NMI, REQUEST.PMI].filter(has)).toEqual([]);
  expect([REQUEST.TLB_FLUSH, REQUEST.EVENT].map(has)).toEqual([true, true]);
});
