/** How an exception is reported (SDM vol. 3, "Exception Classifications"). */
export type ExceptionType = "fault" | "trap" | "fault-or-trap" | "abort" | "interrupt";

/** How two exceptions combine to a double fault (SDM vol. 3, "Interrupt 8 - Double Fault Exception"). */
export type ExceptionClass = "benign" | "contributory" | "page-fault" | "double-fault";

/** Exceptions and interrupts of the architecture (SDM vol. 3, "Exception and Interrupt Vectors"). */
export const EXCEPTIONS = [
  { vector: 0, mnemonic: "DE", name: "Divide Error", type: "fault", class: "contributory", errorCode: false },
  { vector: 1, mnemonic: "DB", name: "Debug Exception", type: "fault-or-trap", class: "benign", errorCode: false },
  { vector: 2, mnemonic: "NMI", name: "NMI Interrupt", type: "interrupt", class: "benign", errorCode: false },
  { vector: 3, mnemonic: "BP", name: "Breakpoint", type: "trap", class: "benign", errorCode: false },
  { vector: 4, mnemonic: "OF", name: "Overflow", type: "trap", class: "benign", errorCode: false },
  { vector: 5, mnemonic: "BR", name: "BOUND Range Exceeded", type: "fault", class: "benign", errorCode: false },
  { vector: 6, mnemonic: "UD", name: "Invalid Opcode", type: "fault", class: "benign", errorCode: false },
  { vector: 7, mnemonic: "NM", name: "Device Not Available", type: "fault", class: "benign", errorCode: false },
  { vector: 8, mnemonic: "DF", name: "Double Fault", type: "abort", class: "double-fault", errorCode: true },
  { vector: 10, mnemonic: "TS", name: "Invalid TSS", type: "fault", class: "contributory", errorCode: true },
  { vector: 11, mnemonic: "NP", name: "Segment Not Present", type: "fault", class: "contributory", errorCode: true },
  { vector: 12, mnemonic: "SS", name: "Stack-Segment Fault", type: "fault", class: "contributory", errorCode: true },
  { vector: 13, mnemonic: "GP", name: "General Protection", type: "fault", class: "contributory", errorCode: true },
  { vector: 14, mnemonic: "PF", name: "Page Fault", type: "fault", class: "page-fault", errorCode: true },
  {
    vector: 16,
    mnemonic: "MF",
    name: "x87 FPU Floating-Point Error",
    type: "fault",
    class: "benign",
    errorCode: false,
  },
  { vector: 17, mnemonic: "AC", name: "Alignment Check", type: "fault", class: "benign", errorCode: true },
  { vector: 18, mnemonic: "MC", name: "Machine Check", type: "abort", class: "benign", errorCode: false },
  {
    vector: 19,
    mnemonic: "XM",
    name: "SIMD Floating-Point Exception",
    type: "fault",
    class: "benign",
    errorCode: false,
  },
  {
    vector: 20,
    mnemonic: "VE",
    name: "Virtualization Exception",
    type: "fault",
    class: "page-fault",
    errorCode: false,
  },
  {
    vector: 21,
    mnemonic: "CP",
    name: "Control Protection Exception",
    type: "fault",
    class: "contributory",
    errorCode: true,
  },
] as const satisfies readonly ExceptionRow[];

interface ExceptionRow {
  readonly vector: number;
  readonly mnemonic: string;
  readonly name: string;
  readonly type: ExceptionType;
  readonly class: ExceptionClass;
  /** It pushes an error code in protected and IA-32e mode. */
  readonly errorCode: boolean;
}

type Row = (typeof EXCEPTIONS)[number];

/** Vector numbers by mnemonic: `VECTOR.GP`. */
export const VECTOR = Object.fromEntries(EXCEPTIONS.map((e) => [e.mnemonic, e.vector])) as {
  readonly [M in Row["mnemonic"]]: Extract<Row, { mnemonic: M }>["vector"];
};

const byVector = new Map<number, ExceptionRow>(EXCEPTIONS.map((e) => [e.vector, e]));

/** The exception with this vector; undefined for reserved vectors and those of external and software interrupts. */
export function exceptionOf(vector: number): Readonly<ExceptionRow> | undefined {
  return byVector.get(vector);
}

/** True for an exception that pushes an error code, in the modes that push any. */
export function hasErrorCode(vector: number): boolean {
  return byVector.get(vector)?.errorCode ?? false;
}

/** Class for the double-fault decision; every vector that the table does not list is benign. */
export function exceptionClass(vector: number): ExceptionClass {
  return byVector.get(vector)?.class ?? "benign";
}
