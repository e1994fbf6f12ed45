import { Code, Register } from "../decode/iced.js";
import type { DecodedInstruction } from "../decode/instruction.js";
import { slot } from "../state/layout.js";
import type { UopName } from "../uops/names.js";
import { X87_N } from "../uops/x87/rows.js";
import { packOrigin } from "../x87/encoding.js";
import type { Builder, ConditionCode } from "./builder.js";
import type { CodeFamily, Lifter } from "./family.js";

const FCW = slot("fcw");
const FSW = slot("fsw");
const RAX = 0;

const origin = (b: Builder, i: DecodedInstruction): bigint =>
  packOrigin({ offset: Number(i.ip - b.blockIp), opcode: i.x87Opcode ?? 0, segment: i.memory?.segment });

/** Number of the stack register that is operand `n`. */
function stackRegister(b: Builder, n: number): number {
  const operand = b.operand(n);
  if (operand.kind !== "register") throw new RangeError(`operand ${n} is no x87 register`);
  return operand.register - Register.ST0;
}

/** A row on the memory operand. */
const memory =
  (row: UopName, { n = 0, write = false }: { n?: number; write?: boolean } = {}): Lifter =>
  (b, i) => {
    if (i.memory === undefined) throw new RangeError(`${row} needs memory`);
    const { a, imm } = b.access(b.address(i.memory, write));
    b.emit(row, { a, b: n, imm: imm | origin(b, i) });
  };

const store = (row: UopName, n = 0): Lifter => memory(row, { n, write: true });

/** A row without operands, or with a constant. */
const plain =
  (row: UopName, n = 0): Lifter =>
  (b, i) =>
    b.emit(row, { b: n, imm: origin(b, i) });

/** A row on the stack register that is operand `operand`. */
const register =
  (row: UopName, operand: number, n: (i: number) => number): Lifter =>
  (b, i) =>
    b.emit(row, { b: n(stackRegister(b, operand)), imm: origin(b, i) });

/** ST(d) = ST(d) op ST(s), as the operands say. */
const arithmetic =
  (row: UopName, pops = 0): Lifter =>
  (b, i) =>
    b.emit(row, { b: X87_N.arithmetic(stackRegister(b, 0), stackRegister(b, 1), pops), imm: origin(b, i) });

const compare = (row: UopName, signalling: boolean, pops: number): Lifter =>
  register(row, 1, (i) => X87_N.compare(i, pops, signalling));

/** The comparison with ST(1) that pops both. */
const comparePair = (signalling: boolean): Lifter => plain("fcomst", X87_N.compare(1, 2, signalling));

const environment =
  (row: UopName, wide: boolean, write: boolean): Lifter =>
  (b, i) => {
    const real = b.mode.virtual8086 || !b.mode.protectedMode;
    memory(row, { n: X87_N.environment({ wide, real }), write })(b, i);
  };

/** FCMOVcc by its condition code. */
const moveIf =
  (condition: ConditionCode): Lifter =>
  (b, i) =>
    b.emit("fcmovst", { a: b.condition(condition), b: stackRegister(b, 1), imm: origin(b, i) });

const storeWord =
  (field: number): Lifter =>
  (b, i) => {
    if (i.memory === undefined) throw new RangeError("FNSTCW and FNSTSW need memory");
    b.store(b.address(i.memory, true), 2, field);
  };

const fnstswAx: Lifter = (b) => b.setRegister(RAX, 2, FSW);

/** The form with WAIT in front. */
const waiting =
  (lifter: Lifter): Lifter =>
  (b, i) => {
    b.emit("fwait");
    lifter(b, i);
  };

const nothing: Lifter = () => undefined;
const C = Code;

const LOADS: CodeFamily = {
  [C.Fld_m32fp]: memory("fldm32"),
  [C.Fld_m64fp]: memory("fldm64"),
  [C.Fld_m80fp]: memory("fldm80"),
  [C.Fild_m16int]: memory("fldi16"),
  [C.Fild_m32int]: memory("fldi32"),
  [C.Fild_m64int]: memory("fldi64"),
  [C.Fbld_m80bcd]: memory("fbld"),
  [C.Fld_sti]: register("fldst", 0, (i) => i),
  [C.Fld1]: plain("fldk", 0),
  [C.Fldl2t]: plain("fldk", 1),
  [C.Fldl2e]: plain("fldk", 2),
  [C.Fldpi]: plain("fldk", 3),
  [C.Fldlg2]: plain("fldk", 4),
  [C.Fldln2]: plain("fldk", 5),
  [C.Fldz]: plain("fldk", 6),
};

const popping = (i: number): number => X87_N.move(i, 1);

const STORES: CodeFamily = {
  [C.Fst_m32fp]: store("fstm32"),
  [C.Fstp_m32fp]: store("fstm32", 1),
  [C.Fst_m64fp]: store("fstm64"),
  [C.Fstp_m64fp]: store("fstm64", 1),
  [C.Fstp_m80fp]: store("fstm80"),
  [C.Fist_m16int]: store("fsti16", X87_N.store(0, false)),
  [C.Fistp_m16int]: store("fsti16", X87_N.store(1, false)),
  [C.Fisttp_m16int]: store("fsti16", X87_N.store(1, true)),
  [C.Fist_m32int]: store("fsti32", X87_N.store(0, false)),
  [C.Fistp_m32int]: store("fsti32", X87_N.store(1, false)),
  [C.Fisttp_m32int]: store("fsti32", X87_N.store(1, true)),
  [C.Fistp_m64int]: store("fsti64", X87_N.store(1, false)),
  [C.Fisttp_m64int]: store("fsti64", X87_N.store(1, true)),
  [C.Fbstp_m80bcd]: store("fbstp"),
  [C.Fst_sti]: register("fstst", 0, (i) => X87_N.move(i, 0)),
  [C.Fstp_sti]: register("fstst", 0, popping),
  [C.Fstpnce_sti]: register("fstnst", 0, (i) => i),
  [C.Fstp_sti_DFD0]: register("fstst", 0, popping),
  [C.Fstp_sti_DFD8]: register("fstst", 0, popping),
  [C.Fxch_st0_sti]: register("fxchst", 1, (i) => i),
  [C.Fxch_st0_sti_DDC8]: register("fxchst", 1, (i) => i),
  [C.Fxch_st0_sti_DFC8]: register("fxchst", 1, (i) => i),
  [C.Fcmovb_st0_sti]: moveIf(2),
  [C.Fcmove_st0_sti]: moveIf(4),
  [C.Fcmovbe_st0_sti]: moveIf(6),
  [C.Fcmovu_st0_sti]: moveIf(10),
  [C.Fcmovnb_st0_sti]: moveIf(3),
  [C.Fcmovne_st0_sti]: moveIf(5),
  [C.Fcmovnbe_st0_sti]: moveIf(7),
  [C.Fcmovnu_st0_sti]: moveIf(11),
};

const ARITHMETIC: CodeFamily = {
  [C.Fadd_m32fp]: memory("faddm32"),
  [C.Fadd_m64fp]: memory("faddm64"),
  [C.Fiadd_m16int]: memory("faddi16"),
  [C.Fiadd_m32int]: memory("faddi32"),
  [C.Fadd_st0_sti]: arithmetic("faddst"),
  [C.Fadd_sti_st0]: arithmetic("faddst"),
  [C.Faddp_sti_st0]: arithmetic("faddst", 1),
  [C.Fmul_m32fp]: memory("fmulm32"),
  [C.Fmul_m64fp]: memory("fmulm64"),
  [C.Fimul_m16int]: memory("fmuli16"),
  [C.Fimul_m32int]: memory("fmuli32"),
  [C.Fmul_st0_sti]: arithmetic("fmulst"),
  [C.Fmul_sti_st0]: arithmetic("fmulst"),
  [C.Fmulp_sti_st0]: arithmetic("fmulst", 1),
  [C.Fsub_m32fp]: memory("fsubm32"),
  [C.Fsub_m64fp]: memory("fsubm64"),
  [C.Fisub_m16int]: memory("fsubi16"),
  [C.Fisub_m32int]: memory("fsubi32"),
  [C.Fsub_st0_sti]: arithmetic("fsubst"),
  [C.Fsub_sti_st0]: arithmetic("fsubst"),
  [C.Fsubp_sti_st0]: arithmetic("fsubst", 1),
  [C.Fsubr_m32fp]: memory("fsubrm32"),
  [C.Fsubr_m64fp]: memory("fsubrm64"),
  [C.Fisubr_m16int]: memory("fsubri16"),
  [C.Fisubr_m32int]: memory("fsubri32"),
  [C.Fsubr_st0_sti]: arithmetic("fsubrst"),
  [C.Fsubr_sti_st0]: arithmetic("fsubrst"),
  [C.Fsubrp_sti_st0]: arithmetic("fsubrst", 1),
  [C.Fdiv_m32fp]: memory("fdivm32"),
  [C.Fdiv_m64fp]: memory("fdivm64"),
  [C.Fidiv_m16int]: memory("fdivi16"),
  [C.Fidiv_m32int]: memory("fdivi32"),
  [C.Fdiv_st0_sti]: arithmetic("fdivst"),
  [C.Fdiv_sti_st0]: arithmetic("fdivst"),
  [C.Fdivp_sti_st0]: arithmetic("fdivst", 1),
  [C.Fdivr_m32fp]: memory("fdivrm32"),
  [C.Fdivr_m64fp]: memory("fdivrm64"),
  [C.Fidivr_m16int]: memory("fdivri16"),
  [C.Fidivr_m32int]: memory("fdivri32"),
  [C.Fdivr_st0_sti]: arithmetic("fdivrst"),
  [C.Fdivr_sti_st0]: arithmetic("fdivrst"),
  [C.Fdivrp_sti_st0]: arithmetic("fdivrst", 1),
  [C.Fchs]: plain("fchs"),
  [C.Fabs]: plain("fabs"),
  [C.Fsqrt]: plain("fsqrt"),
  [C.Frndint]: plain("frndint"),
  [C.Fscale]: plain("fscale"),
  [C.Fxtract]: plain("fxtract"),
  [C.Fprem]: plain("fprem"),
  [C.Fprem1]: plain("fprem1"),
  [C.Fsin]: plain("fsin"),
  [C.Fcos]: plain("fcos"),
  [C.Fsincos]: plain("fsincos"),
  [C.Fptan]: plain("fptan"),
  [C.Fpatan]: plain("fpatan"),
  [C.F2xm1]: plain("f2xm1"),
  [C.Fyl2x]: plain("fyl2x"),
  [C.Fyl2xp1]: plain("fyl2xp1"),
};

const COMPARISONS: CodeFamily = {
  [C.Fcom_m32fp]: memory("fcomm32"),
  [C.Fcomp_m32fp]: memory("fcomm32", { n: 1 }),
  [C.Fcom_m64fp]: memory("fcomm64"),
  [C.Fcomp_m64fp]: memory("fcomm64", { n: 1 }),
  [C.Ficom_m16int]: memory("fcomi16"),
  [C.Ficomp_m16int]: memory("fcomi16", { n: 1 }),
  [C.Ficom_m32int]: memory("fcomi32"),
  [C.Ficomp_m32int]: memory("fcomi32", { n: 1 }),
  [C.Fcom_st0_sti]: compare("fcomst", true, 0),
  [C.Fcom_st0_sti_DCD0]: compare("fcomst", true, 0),
  [C.Fcomp_st0_sti]: compare("fcomst", true, 1),
  [C.Fcomp_st0_sti_DCD8]: compare("fcomst", true, 1),
  [C.Fcomp_st0_sti_DED0]: compare("fcomst", true, 1),
  [C.Fcompp]: comparePair(true),
  [C.Fucom_st0_sti]: compare("fcomst", false, 0),
  [C.Fucomp_st0_sti]: compare("fcomst", false, 1),
  [C.Fucompp]: comparePair(false),
  [C.Fcomi_st0_sti]: compare("fcomist", true, 0),
  [C.Fcomip_st0_sti]: compare("fcomist", true, 1),
  [C.Fucomi_st0_sti]: compare("fcomist", false, 0),
  [C.Fucomip_st0_sti]: compare("fcomist", false, 1),
  [C.Ftst]: plain("ftst"),
  [C.Fxam]: plain("fxam"),
};

const fnstcw = storeWord(FCW);
const fnstsw = storeWord(FSW);

const CONTROL: CodeFamily = {
  [C.Wait]: (b) => b.emit("fwait"),
  [C.Fnop]: plain("fnop"),
  [C.Ffree_sti]: register("ffree", 0, (i) => X87_N.move(i, 0)),
  [C.Ffreep_sti]: register("ffree", 0, popping),
  [C.Fincstp]: plain("fincstp"),
  [C.Fdecstp]: plain("fdecstp"),
  [C.Fninit]: plain("fninit"),
  [C.Finit]: waiting(plain("fninit")),
  [C.Fnclex]: plain("fnclex"),
  [C.Fclex]: waiting(plain("fnclex")),
  [C.Fldcw_m2byte]: memory("fldcw"),
  [C.Fnstcw_m2byte]: fnstcw,
  [C.Fstcw_m2byte]: waiting(fnstcw),
  [C.Fnstsw_m2byte]: fnstsw,
  [C.Fstsw_m2byte]: waiting(fnstsw),
  [C.Fnstsw_AX]: fnstswAx,
  [C.Fstsw_AX]: waiting(fnstswAx),
  [C.Fldenv_m14byte]: environment("fldenv", false, false),
  [C.Fldenv_m28byte]: environment("fldenv", true, false),
  [C.Fnstenv_m14byte]: environment("fnstenv", false, true),
  [C.Fnstenv_m28byte]: environment("fnstenv", true, true),
  [C.Fstenv_m14byte]: waiting(environment("fnstenv", false, true)),
  [C.Fstenv_m28byte]: waiting(environment("fnstenv", true, true)),
  [C.Fnsave_m94byte]: environment("fnsave", false, true),
  [C.Fnsave_m108byte]: environment("fnsave", true, true),
  [C.Fsave_m94byte]: waiting(environment("fnsave", false, true)),
  [C.Fsave_m108byte]: waiting(environment("fnsave", true, true)),
  [C.Frstor_m94byte]: environment("frstor", false, false),
  [C.Frstor_m108byte]: environment("frstor", true, false),
  // Of the 8087 and 80287; nothing since.
  [C.Fneni]: nothing,
  [C.Feni]: waiting(nothing),
  [C.Fndisi]: nothing,
  [C.Fdisi]: waiting(nothing),
  [C.Fnsetpm]: nothing,
  [C.Fsetpm]: waiting(nothing),
};

export const X87_CODES: readonly CodeFamily[] = [LOADS, STORES, ARITHMETIC, COMPARISONS, CONTROL];
