import { Code, CodeExt, Mnemonic, OpCodeOperandKind } from "../../src/decode/iced.js";
import { codeInfo, type Bitness } from "../../src/index.js";

/** An instruction form: one iced-x86 `Code`, with the operand that may be either fixed to register or memory. */
export interface Form {
  readonly id: string;
  readonly code: number;
  readonly set: FormSet;
  readonly bitness: Bitness;
  readonly variant: "register" | "memory" | "fixed";
  readonly repeat: "" | "rep" | "repne";
}

/** The forms are recorded in two sets: general-purpose instructions, and those of x87, MMX and SSE. */
export type FormSet = "integer" | "vector";

/** The instruction sets that count as the general-purpose integer set, by iced-x86's `CpuidFeature`. */
const INTEGER_FEATURES = new Set([
  "INTEL8086", "INTEL186", "INTEL286", "INTEL386", "INTEL486", "X64", "CMOV", "CX8", "CMPXCHG16B", "ADX", "BMI1", "BMI2",
  "LZCNT", "POPCNT", "MOVBE", "MULTIBYTENOP", "PAUSE", "PREFETCHW", "CLFSH", "CLFLUSHOPT", "CLWB",
  "CLDEMOTE", "CET_IBT", "CET_SS", "FSGSBASE", "RDPID", "RDTSCP", "TSC", "MSR", "CPUID", "SEP", "SYSCALL", "RDRAND",
  "RDSEED", "MOVDIRI", "SERIALIZE",
]); // prettier-ignore

/** What counts as vector and floating-point instructions. Fences, prefetches and MOVNTI are SSE's. */
const VECTOR_FEATURES = new Set([
  "FPU", "FPU287", "FPU387", "MMX", "FXSR", "XSAVE", "XSAVEOPT", "XSAVEC",
  "SSE", "SSE2", "SSE3", "SSSE3", "SSE4_1", "SSE4_2", "AES", "PCLMULQDQ",
]); // prettier-ignore

/** These are in the set of general-purpose instructions, whatever feature shows them; WAIT is x87's. */
const MOVED: ReadonlyMap<string, FormSet> = new Map([
  ["Crc32", "integer"],
  ["Wait", "vector"],
]);

function setOf(code: number, mnemonic: string): FormSet | undefined {
  const { features } = codeInfo(code);
  const moved = MOVED.get(mnemonic);
  if (moved !== undefined) return moved;
  if (features.every((feature) => INTEGER_FEATURES.has(feature))) return "integer";
  // FCMOVcc and FCOMI need CMOV beside FPU.
  return features.every((feature) => VECTOR_FEATURES.has(feature) || feature === "CMOV") ? "vector" : undefined;
}

const mnemonics = (list: string): readonly string[] => list.trim().split(/\s+/);

/** Why a form is not recorded, by mnemonic. */
const EXCLUDED: readonly (readonly [reason: string, names: readonly string[]])[] = [
  [
    "privileged or sensitive: needs ring 0 or IOPL",
    mnemonics(`In Out Insb Insw Insd Outsb Outsw Outsd Hlt Cli Sti Clts Lmsw Lgdt Lidt Lldt Ltr Invd Wbinvd Invlpg
      Rdmsr Wrmsr Swapgs Sysexit Sysexitq Sysret Sysretq Wrussd Wrussq Setssbsy Clrssbsy Rstorssp`),
  ],
  [
    "depends on the operating system's tables",
    mnemonics(`Sldt Str Sgdt Sidt Smsw Lar Lsl Verr Verw Arpl Lds Les Lss Lfs Lgs Rdfsbase Rdgsbase Wrfsbase Wrgsbase`),
  ],
  ["transfers through the operating system", mnemonics(`Int Int1 Int3 Into Iret Iretd Iretq Syscall Sysenter Retf`)],
  ["result varies from run to run", mnemonics(`Rdtsc Rdtscp Rdpid Rdrand Rdseed Cpuid`)],
  [
    "shadow stacks are off, or need an operating system that switches them on",
    mnemonics(`Incsspd Incsspq Saveprevssp Wrssd Wrssq`),
  ],
  ["not on the processor that recorded", mnemonics(`Cldemote Serialize Movdiri`)],
  ["vendors differ: approximations are held to their error bound elsewhere", mnemonics(`Rcpps Rcpss Rsqrtps Rsqrtss`)],
  [
    "vendors differ in the last bit: transcendental functions are held to their error bound elsewhere",
    mnemonics(`F2xm1 Fyl2x Fyl2xp1 Fptan Fpatan Fsin Fcos Fsincos`),
  ],
  ["depends on the operating system: XCR0", mnemonics(`Xgetbv Xsetbv`)],
  [
    "what is written depends on how the processor tracks use of the state",
    mnemonics(`Xsaveopt Xsaveopt64 Xsavec Xsavec64`),
  ],
];

/** Why a single `Code` is not recorded, by its name. */
const EXCLUDED_CODES: ReadonlyMap<RegExp, string> = new Map([
  [/^(Call|Jmp)_(ptr|m)16(16|32|64)$/, "far transfer: loads CS"],
  [/^(Pop[wdq]_[A-Z]S|Mov_Sreg_.*)$/, "loads a segment register"],
  [/^Mov_(cr|dr|tr|r32_cr|r64_cr|r32_dr|r64_dr|r32_tr)/, "privileged: needs ring 0"],
  [/^(Popf[wdq]?|Popf)$/, "what it may change depends on CPL and IOPL"],
]);

export interface Exclusion {
  readonly id: string;
  readonly reason: string;
}

/** Vendors differ on a 66 prefix before near branches in 64-bit code; what was recorded on AMD is not Intel's rule. */
const OPERAND_SIZE_BRANCH = /^(J|Call|Loop).*_(rel16|rm16|rel8_16)|^Retnw/;

function exclusion(code: number, bitness: Bitness): string | undefined {
  const opCode = CodeExt.opCode(code);
  const mnemonic = Mnemonic[opCode.mnemonic] ?? "";
  const privileged = opCode.isPrivileged;
  const wait = opCode.fwait;
  opCode.free();
  const name = Code[code] ?? "";
  for (const [reason, names] of EXCLUDED) if (names.includes(mnemonic)) return reason;
  for (const [pattern, reason] of EXCLUDED_CODES) if (pattern.test(name)) return reason;
  if (privileged) return "privileged: needs ring 0";
  if (wait) return "two instructions: WAIT and the form without it";
  if (bitness === 64 && OPERAND_SIZE_BRANCH.test(name))
    return "vendors differ: operand-size prefix on a near branch in 64-bit code";
  return undefined;
}

/** Forms on which vendors differ, by their identity. */
const VENDORS_DIFFER: ReadonlyMap<RegExp, string> = new Map([
  [/^Pushd_[A-Z]S$/, "vendors differ: upper half of a 32-bit push of a selector"],
  [/^Reservednop_.*_0F0D register$/, "vendors differ: 0F 0D with a register"],
]);

const REG_OR_MEM = new Set<number>([
  OpCodeOperandKind.r8_or_mem,
  OpCodeOperandKind.r16_or_mem,
  OpCodeOperandKind.r32_or_mem,
  OpCodeOperandKind.r64_or_mem,
  OpCodeOperandKind.mm_or_mem,
  OpCodeOperandKind.xmm_or_mem,
]);
const STRING = new Set<number>([OpCodeOperandKind.es_rDI, OpCodeOperandKind.seg_rSI]);

/** Every `Code` of a set that exists in code of the given size. */
export function codesOf(set: FormSet, bitness: Bitness): number[] {
  return Object.keys(Code)
    .map(Number)
    .filter((code) => {
      if (!Number.isInteger(code)) return false;
      const opCode = CodeExt.opCode(code);
      // Codes that need an option of the decoder are of processors long gone.
      const exists = opCode.isInstruction && opCode.isAvailableInMode(bitness) && opCode.decoderOption === 0;
      const mnemonic = Mnemonic[opCode.mnemonic] ?? "";
      opCode.free();
      return exists && setOf(code, mnemonic) === set;
    });
}

export interface FormList {
  readonly forms: readonly Form[];
  readonly excluded: readonly Exclusion[];
}

/** All forms of a set that exist in code of the given size, in order of their `Code`. */
export function listForms(set: FormSet, bitness: Bitness): FormList {
  const forms: Form[] = [];
  const excluded: Exclusion[] = [];
  for (const code of codesOf(set, bitness)) {
    const opCode = CodeExt.opCode(code);
    const kinds = Array.from({ length: opCode.opCount }, (_, n) => opCode.opKind(n));
    opCode.free();
    const name = Code[code] ?? "";
    const reason = exclusion(code, bitness);
    if (reason !== undefined) {
      excluded.push({ id: name, reason });
      continue;
    }
    const variants: Form["variant"][] = kinds.some((kind) => REG_OR_MEM.has(kind)) ? ["register", "memory"] : ["fixed"];
    const repeats: Form["repeat"][] = kinds.some((kind) => STRING.has(kind)) ? ["", "rep", "repne"] : [""];
    for (const variant of variants) {
      for (const repeat of repeats) {
        const id = [name, variant === "fixed" ? "" : variant, repeat].filter((part) => part !== "").join(" ");
        const differs = [...VENDORS_DIFFER].find(([pattern]) => pattern.test(id));
        if (differs !== undefined) excluded.push({ id, reason: differs[1] });
        else forms.push({ id, code, set, bitness, variant, repeat });
      }
    }
  }
  return { forms, excluded };
}
