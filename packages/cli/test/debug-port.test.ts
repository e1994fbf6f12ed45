import { defineDevice, loadRealMode } from "@tapvisor/sdk";
import { Assembler, reg } from "@tapvisor/x86-isa";
import { STOCK_BOARD } from "@tapvisor/devices";
import { describe, expect, it } from "vitest";
import { createMachine } from "../src/index.js";

const { al, ax } = reg;
const ADDRESS = 0x8000;
const MEMORY = 1 << 20;

/** Writes three codes to port 0x80, and ends. */
const CODE = new Assembler(16)
  .mov(al, 1).out(0x80, al)
  .mov(al, 2).out(0x80, al)
  .mov(al, 3).out(0x80, al)
  .xor(ax, ax).out(0xf4, al)
  .label("halt").hlt().jmp("halt")
  .assemble(ADDRESS).bytes; // prettier-ignore

/** Shows the codes that firmware writes. */
const postCard = (codes: number[]) =>
  defineDevice({ name: "post card", size: 1, write: (_state, _offset, data) => void codes.push(...data) })();

describe("port 0x80", () => {
  it("reaches a device that is there", async () => {
    const codes: number[] = [];
    const machine = createMachine({
      memorySize: MEMORY,
      board: {
        ...STOCK_BOARD,
        devices: (board, console) => [
          ...STOCK_BOARD.devices(board, console),
          { bus: "port", base: 0x80, device: postCard(codes) },
        ],
      },
    });
    machine.load(loadRealMode(CODE, { memorySize: MEMORY, address: ADDRESS }));
    expect(await machine.run()).toEqual({ stop: "debug-exit", value: 0 });
    expect(codes).toEqual([1, 2, 3]);
    machine.dispose();
  });

  it("costs no exit where none is, and refuses one that comes later", async () => {
    let exits = 0;
    const hooks = {
      exitToUser: ({ exit }: { exit: { reason: string } }) => void (exits += exit.reason === "io" ? 1 : 0),
    };
    const machine = createMachine({ memorySize: MEMORY, interceptors: [{ name: "count", hooks }] });
    machine.load(loadRealMode(CODE, { memorySize: MEMORY, address: ADDRESS }));
    expect(() => machine.vm.buses.port.attach(0x80, postCard([]))).toThrow(
      /EBUSY: post card at 0x80: guests access 0x80 directly since the first vCPU was made/,
    );
    expect(await machine.run()).toEqual({ stop: "debug-exit", value: 0 });
    expect(exits).toBe(1);
    machine.dispose();
  });
});
