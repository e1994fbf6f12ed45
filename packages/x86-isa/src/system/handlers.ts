import { Code, Mnemonic } from "../decode/iced.js";
import type { DecodedInstruction } from "../decode/instruction.js";
import type { ExecutionEnvironment } from "../environment.js";
import {
  clts,
  invlpg,
  invpcid,
  lmsw,
  movFromControl,
  movFromDebug,
  movToControl,
  movToDebug,
  smsw,
} from "./control.js";
import { callFar, jmpFar, retFar } from "./far-transfer.js";
import { readBase, swapgs, syscall, sysenter, sysexit, sysret, writeBase } from "./fast-calls.js";
import { fxrstor, fxsave, xrstor, xsave, xsavec } from "./fpu-state.js";
import { cli, popf, pushf, setAlignmentCheck, sti } from "./flags.js";
import { int1, int3, intN, into } from "./interrupts.js";
import { input, insertString, output, outputString } from "./io.js";
import { iret } from "./iret.js";
import { SEGMENT } from "./memory.js";
import { undefinedOpcode } from "./mode.js";
import {
  cpuid,
  hlt,
  monitor,
  mwait,
  pause,
  random,
  rdmsr,
  rdpid,
  rdpkru,
  rdpmc,
  rdtsc,
  rdtscp,
  writeBackCaches,
  wrmsr,
  wrpkru,
  xgetbv,
  xsetbv,
} from "./processor.js";
import { loadFarPointer, movSegment, popSegment } from "./segment-loads.js";
import { arpl, lar, lgdt, lidt, lldt, lsl, ltr, sgdt, sidt, sldt, str, verr, verw } from "./tables.js";

/**
 * What a system instruction does to its machine. It starts with `currentRip` at the instruction and `nextRip` after it;
 * a transfer of control changes `nextRip`. A `GuestException` means that nothing happened.
 */
export type SystemHandler = (m: ExecutionEnvironment, i: DecodedInstruction) => void;

/** One row: the instruction's name, the decoder's mnemonics or codes that it covers, and its meaning. */
export interface SystemInstruction {
  readonly name: string;
  readonly mnemonics?: readonly Mnemonic[];
  /** Where only some forms of a mnemonic are system instructions. */
  readonly codes?: readonly Code[];
  readonly handle: SystemHandler;
}

const N = Mnemonic;

/** Every system instruction. The index in this list is the handler's id in a `sys` micro-operation. */
export const SYSTEM_INSTRUCTIONS: readonly SystemInstruction[] = [
  { name: "UD", mnemonics: [N.Ud0, N.Ud1, N.Ud2], handle: undefinedOpcode },
  // Segment registers
  {
    name: "MOV Sreg",
    codes: [Code.Mov_Sreg_rm16, Code.Mov_Sreg_r32m16, Code.Mov_Sreg_r64m16],
    handle: movSegment,
  },
  {
    name: "POP Sreg",
    codes: [
      Code.Popw_ES,
      Code.Popd_ES,
      Code.Popw_SS,
      Code.Popd_SS,
      Code.Popw_DS,
      Code.Popd_DS,
      Code.Popw_FS,
      Code.Popd_FS,
      Code.Popq_FS,
      Code.Popw_GS,
      Code.Popd_GS,
      Code.Popq_GS,
    ],
    handle: popSegment,
  },
  { name: "LES", mnemonics: [N.Les], handle: loadFarPointer(SEGMENT.ES) },
  { name: "LDS", mnemonics: [N.Lds], handle: loadFarPointer(SEGMENT.DS) },
  { name: "LSS", mnemonics: [N.Lss], handle: loadFarPointer(SEGMENT.SS) },
  { name: "LFS", mnemonics: [N.Lfs], handle: loadFarPointer(SEGMENT.FS) },
  { name: "LGS", mnemonics: [N.Lgs], handle: loadFarPointer(SEGMENT.GS) },
  // Descriptor tables
  { name: "LGDT", mnemonics: [N.Lgdt], handle: lgdt },
  { name: "LIDT", mnemonics: [N.Lidt], handle: lidt },
  { name: "SGDT", mnemonics: [N.Sgdt], handle: sgdt },
  { name: "SIDT", mnemonics: [N.Sidt], handle: sidt },
  { name: "LLDT", mnemonics: [N.Lldt], handle: lldt },
  { name: "LTR", mnemonics: [N.Ltr], handle: ltr },
  { name: "SLDT", mnemonics: [N.Sldt], handle: sldt },
  { name: "STR", mnemonics: [N.Str], handle: str },
  { name: "LAR", mnemonics: [N.Lar], handle: lar },
  { name: "LSL", mnemonics: [N.Lsl], handle: lsl },
  { name: "VERR", mnemonics: [N.Verr], handle: verr },
  { name: "VERW", mnemonics: [N.Verw], handle: verw },
  { name: "ARPL", mnemonics: [N.Arpl], handle: arpl },
  // Far transfers
  {
    name: "JMP far",
    codes: [Code.Jmp_ptr1616, Code.Jmp_ptr1632, Code.Jmp_m1616, Code.Jmp_m1632, Code.Jmp_m1664],
    handle: jmpFar,
  },
  {
    name: "CALL far",
    codes: [Code.Call_ptr1616, Code.Call_ptr1632, Code.Call_m1616, Code.Call_m1632, Code.Call_m1664],
    handle: callFar,
  },
  { name: "RET far", mnemonics: [N.Retf], handle: retFar },
  { name: "IRET", mnemonics: [N.Iret, N.Iretd, N.Iretq], handle: iret },
  { name: "INT n", mnemonics: [N.Int], handle: intN },
  { name: "INT3", mnemonics: [N.Int3], handle: int3 },
  { name: "INTO", mnemonics: [N.Into], handle: into },
  { name: "INT1", mnemonics: [N.Int1], handle: int1 },
  { name: "SYSCALL", mnemonics: [N.Syscall], handle: syscall },
  { name: "SYSRET", mnemonics: [N.Sysret, N.Sysretq], handle: sysret },
  { name: "SYSENTER", mnemonics: [N.Sysenter], handle: sysenter },
  { name: "SYSEXIT", mnemonics: [N.Sysexit, N.Sysexitq], handle: sysexit },
  { name: "SWAPGS", mnemonics: [N.Swapgs], handle: swapgs },
  { name: "RDFSBASE", mnemonics: [N.Rdfsbase], handle: readBase("fs") },
  { name: "RDGSBASE", mnemonics: [N.Rdgsbase], handle: readBase("gs") },
  { name: "WRFSBASE", mnemonics: [N.Wrfsbase], handle: writeBase("fs") },
  { name: "WRGSBASE", mnemonics: [N.Wrgsbase], handle: writeBase("gs") },
  // Flags
  { name: "CLI", mnemonics: [N.Cli], handle: cli },
  { name: "STI", mnemonics: [N.Sti], handle: sti },
  { name: "PUSHF", mnemonics: [N.Pushf, N.Pushfd, N.Pushfq], handle: pushf },
  { name: "POPF", mnemonics: [N.Popf, N.Popfd, N.Popfq], handle: popf },
  { name: "CLAC", mnemonics: [N.Clac], handle: setAlignmentCheck(false) },
  { name: "STAC", mnemonics: [N.Stac], handle: setAlignmentCheck(true) },
  // Control and debug registers
  { name: "MOV r, CRn", codes: [Code.Mov_r32_cr, Code.Mov_r64_cr], handle: movFromControl },
  { name: "MOV CRn, r", codes: [Code.Mov_cr_r32, Code.Mov_cr_r64], handle: movToControl },
  { name: "MOV r, DRn", codes: [Code.Mov_r32_dr, Code.Mov_r64_dr], handle: movFromDebug },
  { name: "MOV DRn, r", codes: [Code.Mov_dr_r32, Code.Mov_dr_r64], handle: movToDebug },
  { name: "CLTS", mnemonics: [N.Clts], handle: clts },
  { name: "LMSW", mnemonics: [N.Lmsw], handle: lmsw },
  { name: "SMSW", mnemonics: [N.Smsw], handle: smsw },
  { name: "INVLPG", mnemonics: [N.Invlpg], handle: invlpg },
  { name: "INVPCID", mnemonics: [N.Invpcid], handle: invpcid },
  { name: "XGETBV", mnemonics: [N.Xgetbv], handle: xgetbv },
  { name: "XSETBV", mnemonics: [N.Xsetbv], handle: xsetbv },
  { name: "FXSAVE", mnemonics: [N.Fxsave, N.Fxsave64], handle: fxsave },
  { name: "FXRSTOR", mnemonics: [N.Fxrstor, N.Fxrstor64], handle: fxrstor },
  { name: "XSAVE", mnemonics: [N.Xsave, N.Xsave64], handle: xsave(false) },
  { name: "XSAVEOPT", mnemonics: [N.Xsaveopt, N.Xsaveopt64], handle: xsave(true) },
  { name: "XSAVEC", mnemonics: [N.Xsavec, N.Xsavec64], handle: xsavec },
  { name: "XRSTOR", mnemonics: [N.Xrstor, N.Xrstor64], handle: xrstor },
  { name: "RDPKRU", mnemonics: [N.Rdpkru], handle: rdpkru },
  { name: "WRPKRU", mnemonics: [N.Wrpkru], handle: wrpkru },
  // Ports
  { name: "IN", mnemonics: [N.In], handle: input },
  { name: "OUT", mnemonics: [N.Out], handle: output },
  { name: "INSB", mnemonics: [N.Insb], handle: insertString(1) },
  { name: "INSW", mnemonics: [N.Insw], handle: insertString(2) },
  { name: "INSD", codes: [Code.Insd_m32_DX], handle: insertString(4) },
  { name: "OUTSB", mnemonics: [N.Outsb], handle: outputString(1) },
  { name: "OUTSW", mnemonics: [N.Outsw], handle: outputString(2) },
  { name: "OUTSD", codes: [Code.Outsd_DX_m32], handle: outputString(4) },
  // The processor
  { name: "CPUID", mnemonics: [N.Cpuid], handle: cpuid },
  { name: "RDTSC", mnemonics: [N.Rdtsc], handle: rdtsc },
  { name: "RDTSCP", mnemonics: [N.Rdtscp], handle: rdtscp },
  { name: "RDPID", mnemonics: [N.Rdpid], handle: rdpid },
  { name: "RDPMC", mnemonics: [N.Rdpmc], handle: rdpmc },
  { name: "RDMSR", mnemonics: [N.Rdmsr], handle: rdmsr },
  { name: "WRMSR", mnemonics: [N.Wrmsr], handle: wrmsr },
  { name: "HLT", mnemonics: [N.Hlt], handle: hlt },
  { name: "PAUSE", mnemonics: [N.Pause], handle: pause },
  { name: "MONITOR", mnemonics: [N.Monitor], handle: monitor },
  { name: "MWAIT", mnemonics: [N.Mwait], handle: mwait },
  { name: "INVD", mnemonics: [N.Invd], handle: writeBackCaches("invd") },
  { name: "WBINVD", mnemonics: [N.Wbinvd, N.Wbnoinvd], handle: writeBackCaches("wbinvd") },
  { name: "RDRAND", mnemonics: [N.Rdrand], handle: random("rdrand") },
  { name: "RDSEED", mnemonics: [N.Rdseed], handle: random("rdseed") },
  { name: "RSM", mnemonics: [N.Rsm], handle: (m) => m.resumeFromSmm() },
  {
    name: "virtualization",
    mnemonics: [
      N.Vmcall,
      N.Vmlaunch,
      N.Vmresume,
      N.Vmxoff,
      N.Vmxon,
      N.Vmclear,
      N.Vmptrld,
      N.Vmptrst,
      N.Vmread,
      N.Vmwrite,
      N.Vmfunc,
      N.Invept,
      N.Invvpid,
      N.Getsec,
      N.Vmmcall,
      N.Vmrun,
      N.Vmload,
      N.Vmsave,
      N.Stgi,
      N.Clgi,
      N.Invlpga,
      N.Skinit,
    ],
    handle: (m, i) => m.virtualization(i),
  },
];

const byCode = new Map<Code, number>();
const byMnemonic = new Map<Mnemonic, number>();
SYSTEM_INSTRUCTIONS.forEach(({ mnemonics = [], codes = [] }, id) => {
  for (const mnemonic of mnemonics) byMnemonic.set(mnemonic, id);
  for (const code of codes) byCode.set(code, id);
});

/** Id of the handler of a system instruction; undefined for an instruction that is none. */
export function systemHandlerId(i: Pick<DecodedInstruction, "code" | "mnemonic">): number | undefined {
  return byCode.get(i.code) ?? byMnemonic.get(i.mnemonic);
}

/** Run the system instruction with this id. */
export function runSystemInstruction(m: ExecutionEnvironment, id: number, i: DecodedInstruction): void {
  const row = SYSTEM_INSTRUCTIONS[id];
  if (row === undefined) throw new RangeError(`system handler ${id} does not exist`);
  row.handle(m, i);
}
