import { describe, expect, it } from "vitest";
import { decode, InstructionStream, type Bitness, type DecodedInstruction } from "../src/index.js";
import { Code, Register } from "../src/decode/iced.js";

const hex = (text: string): Uint8Array => Uint8Array.from(text.split(" "), (byte) => parseInt(byte, 16));

function decoded(text: string, bitness: Bitness = 64, ip = 0x1000n): DecodedInstruction {
  const result = decode(hex(text), ip, bitness);
  if (result.kind !== "instruction") throw new Error(`${text}: ${result.kind}`);
  return result.instruction;
}

describe("decode", () => {
  it("gives operands, sizes and prefixes of an instruction", () => {
    const add = decoded("f0 48 01 44 8b fc");
    expect(Code[add.code]).toBe("Add_rm64_r64");
    expect(add).toMatchObject({ length: 6, ip: 0x1000n, operandSize: 8, addressSize: 8, lock: true, rep: false });
    expect(add.memory).toEqual({
      kind: "memory",
      base: Register.RBX,
      index: Register.RCX,
      scale: 4,
      displacement: 0xffff_ffff_ffff_fffcn,
      segment: 3,
      size: 8,
      addressSize: 8,
    });
    expect(add.operands[1]).toEqual({ kind: "register", register: Register.RAX });
  });

  it("takes the segment from defaults and overrides", () => {
    expect(decoded("8b 45 00").memory?.segment).toBe(2);
    expect(decoded("65 8b 45 00").memory?.segment).toBe(5);
    expect(decoded("2e 8b 00", 32).memory?.segment).toBe(1);
    expect(decoded("2e 8b 00").memory?.segment).toBe(3);
  });

  it("resolves RIP-relative addresses and branch targets", () => {
    expect(decoded("8b 05 10 00 00 00").memory).toMatchObject({ base: Register.RIP, displacement: 0x1016n });
    expect(decoded("e9 fb ff ff ff").operands[0]).toEqual({ kind: "branch", target: 0x1000n });
    expect(decoded("eb 7f", 16, 0xfff0n).operands[0]).toEqual({ kind: "branch", target: 0x71n });
    expect(decoded("ea 78 56 34 12 cd ab", 32).operands[0]).toEqual({
      kind: "far",
      selector: 0xabcd,
      offset: 0x12345678,
    });
  });

  it("extends immediates as the instruction does", () => {
    expect(decoded("83 c0 ff").operands[1]).toEqual({ kind: "immediate", value: 0xffff_ffff_ffff_ffffn });
    expect(decoded("b8 ff ff ff ff").operands[1]).toEqual({ kind: "immediate", value: 0xffff_ffffn });
    expect(decoded("c8 34 12 05").operands.map((op) => (op.kind === "immediate" ? op.value : undefined))).toEqual([
      0x1234n,
      5n,
    ]);
  });

  it("names address size and both operands of a string instruction", () => {
    const movs = decoded("f3 67 64 a5");
    expect(movs).toMatchObject({ rep: true, repne: false, addressSize: 4 });
    expect(movs.operands).toMatchObject([
      { base: Register.EDI, segment: 0, size: 4 },
      { base: Register.ESI, segment: 4, size: 4 },
    ]);
  });

  it("keeps the last of REP and REPNE", () => {
    expect(decoded("f2 f3 a4")).toMatchObject({ rep: true, repne: false });
    expect(decoded("f3 f2 a4")).toMatchObject({ rep: false, repne: true });
  });

  it("refuses LOCK where it is not allowed", () => {
    expect(decode(hex("f0 01 c0"), 0n, 64).kind).toBe("invalid");
    expect(decode(hex("f0 90"), 0n, 64).kind).toBe("invalid");
    expect(decode(hex("f0 87 00"), 0n, 64).kind).toBe("instruction");
  });

  it("tells an unfinished instruction from one that is too long or invalid", () => {
    const prefixes = Array.from({ length: 14 }, () => "66").join(" ");
    expect(decode(hex("48 8b"), 0n, 64).kind).toBe("incomplete");
    expect(decode(new Uint8Array(), 0n, 64).kind).toBe("incomplete");
    expect(decode(hex(prefixes), 0n, 64).kind).toBe("incomplete");
    expect(decode(hex(`${prefixes} 01 c0`), 0n, 64).kind).toBe("too-long");
    expect(decode(hex(`${prefixes} 90`), 0n, 64).kind).toBe("instruction");
    expect(decode(hex("8d c0"), 0n, 32).kind).toBe("invalid");
  });

  it("decodes a run of instructions from one buffer", () => {
    const stream = new InstructionStream(hex("90 48 89 c3 0f"), 0x10n, 64);
    const seen = [stream.next(), stream.next(), stream.next()].map((result) =>
      result.kind === "instruction" ? `${Code[result.instruction.code]}@${result.instruction.ip}` : result.kind,
    );
    stream.free();
    expect(seen).toEqual(["Nopd@16", "Mov_rm64_r64@17", "incomplete"]);
  });
});
