import type { UopEmitter } from "../definition.js";

/** Fields of the control byte (SDM vol. 2, "Imm8 Control Byte Operation for PCMPESTRI / PCMPESTRM / PCMPISTRI / PCMPISTRM"). */
export const STRING_CONTROL = {
  WORDS: 1,
  SIGNED: 2,
  NEGATE: 1 << 4,
  NEGATE_VALID_ALONE: 1 << 5,
  /** Of PCMPxSTRI: the index of the last match. */
  LAST: 1 << 6,
  /** Of PCMPxSTRM: an element of ones or zeros for each, instead of a bit. */
  ELEMENT_MASK: 1 << 6,
} as const;
/** Above the control byte: lengths are in EAX and EDX, or in RAX and RDX. */
export const STRING_LENGTHS = { IMPLICIT: 0, EXPLICIT_32: 1 << 8, EXPLICIT_64: 1 << 9 } as const;

/** Locals of the comparison, by index. */
const LOCAL = { CONTROL: 0, FIRST: 1, SECOND: 2, RESULT: 3, PLACE: 4, MASK: 5 } as const;

/** Writes the comparison of two strings with elements of one width, in WebAssembly. */
export class Comparison {
  readonly #count: number;
  readonly #all: number;
  readonly #shape: "i8x16" | "i16x8";

  constructor(
    private readonly e: UopEmitter,
    private readonly bits: 8 | 16,
  ) {
    this.#count = 128 / bits;
    this.#all = (1 << this.#count) - 1;
    this.#shape = bits === 8 ? "i8x16" : "i16x8";
  }

  #get(local: number): void {
    this.e.w.get(this.e.i32(local));
  }

  #set(local: number, value: () => void): void {
    value();
    this.e.w.set(this.e.i32(local));
  }

  /** Push whether bits of the control byte are set. */
  #control(bits: number): void {
    this.#get(LOCAL.CONTROL);
    this.e.w.i32(bits);
    this.e.w.op("i32.and");
  }

  /** Push a mask of the elements for which the vector on the stack is all ones. */
  #bitmask(): void {
    this.e.w.op(`${this.#shape}.bitmask`);
  }

  /** Push a mask of the valid elements of a string. */
  #valid(vector: () => void, register: "rax" | "rdx"): void {
    const { e } = this;
    const { w } = e;
    const [length, sign] = [e.i64(0), e.i64(1)];
    this.#control(STRING_LENGTHS.EXPLICIT_32 | STRING_LENGTHS.EXPLICIT_64);
    w.if(
      () => {
        e.get(register);
        e.get(register);
        w.op("i64.extend32_s");
        this.#control(STRING_LENGTHS.EXPLICIT_64);
        w.op("select");
        w.tee(length);
        w.get(length);
        w.i64(63n);
        w.op("i64.shr_s");
        w.tee(sign);
        // (length ^ m) - m is -length where m is all ones; the least integer is a great length without a sign.
        w.op("i64.xor");
        w.get(sign);
        w.op("i64.sub");
        w.tee(length);
        w.i64(BigInt(this.#count));
        w.get(length);
        w.i64(BigInt(this.#count));
        w.op("i64.lt_u", "select", "i32.wrap_i64");
      },
      () => {
        vector();
        w.v128(0n, 0n);
        w.op(`${this.#shape}.eq`);
        this.#bitmask();
        w.i32(1 << this.#count);
        w.op("i32.or", "i32.ctz");
      },
      "i32",
    );
    const elements = e.i32(LOCAL.PLACE);
    w.set(elements);
    w.i32(1);
    w.get(elements);
    w.op("i32.shl");
    w.i32(1);
    w.op("i32.sub");
  }

  /** Push element number `PLACE` plus `ahead` of the first string in every place. */
  #spread(ahead: number): void {
    const { e } = this;
    const { w } = e;
    e.va();
    this.#get(LOCAL.PLACE);
    if (ahead > 0) {
      w.i32(ahead);
      w.op("i32.add");
    }
    if (this.bits === 8) {
      w.op("i8x16.splat", "i8x16.swizzle");
      return;
    }
    // Word n is in bytes 2n and 2n + 1.
    w.i32(0x0202);
    w.op("i32.mul");
    w.i32(0x0100);
    w.op("i32.add", "i16x8.splat", "i8x16.swizzle");
  }

  /** For each valid element of the first string, in steps, make PLACE its number and run `body`. */
  #eachOfFirst(step: 1 | 2, body: () => void): void {
    const { w } = this.e;
    this.#set(LOCAL.PLACE, () => w.i32(0));
    w.block((done) => {
      w.loop((again) => {
        this.#get(LOCAL.FIRST);
        this.#get(LOCAL.PLACE);
        w.i32(step - 1);
        w.op("i32.add", "i32.shr_u");
        w.i32(1);
        w.op("i32.and", "i32.eqz");
        w.brIf(done);
        body();
        this.#set(LOCAL.PLACE, () => {
          this.#get(LOCAL.PLACE);
          w.i32(step);
          w.op("i32.add");
        });
        w.br(again);
      });
    });
  }

  /** Join a mask into the result. */
  #join(mask: () => void): void {
    this.#set(LOCAL.RESULT, () => {
      this.#get(LOCAL.RESULT);
      mask();
      this.e.w.op("i32.or");
    });
  }

  #equalAny(): void {
    this.#eachOfFirst(1, () =>
      this.#join(() => {
        this.#spread(0);
        this.e.vb();
        this.e.w.op(`${this.#shape}.eq`);
        this.#bitmask();
      }),
    );
  }

  #ranges(): void {
    const { e } = this;
    const { w } = e;
    const inside = (sign: "s" | "u"): void => {
      e.vb();
      this.#spread(0);
      w.op(`${this.#shape}.ge_${sign}`);
      e.vb();
      this.#spread(1);
      w.op(`${this.#shape}.le_${sign}`, "v128.and");
      this.#bitmask();
    };
    this.#eachOfFirst(2, () =>
      this.#join(() => {
        this.#control(STRING_CONTROL.SIGNED);
        w.if(
          () => inside("s"),
          () => inside("u"),
          "i32",
        );
      }),
    );
  }

  #equalEach(): void {
    const { w } = this.e;
    this.e.va();
    this.e.vb();
    w.op(`${this.#shape}.eq`);
    this.#bitmask();
    this.#get(LOCAL.FIRST);
    w.op("i32.and");
    this.#get(LOCAL.SECOND);
    w.op("i32.and");
    // Beyond the end of both, elements are equal.
    this.#get(LOCAL.FIRST);
    this.#get(LOCAL.SECOND);
    w.op("i32.or");
    w.i32(-1);
    w.op("i32.xor", "i32.or");
    w.set(this.e.i32(LOCAL.RESULT));
  }

  #equalOrdered(): void {
    const { e } = this;
    const { w } = e;
    this.#set(LOCAL.RESULT, () => w.i32(this.#all));
    this.#eachOfFirst(1, () => {
      this.#set(LOCAL.MASK, () => {
        this.#spread(0);
        e.vb();
        w.op(`${this.#shape}.eq`);
        this.#bitmask();
        this.#get(LOCAL.SECOND);
        w.op("i32.and");
        // What would lie beyond the vector does not count against a match.
        w.i32(~this.#all);
        w.op("i32.or");
      });
      this.#set(LOCAL.RESULT, () => {
        this.#get(LOCAL.RESULT);
        this.#get(LOCAL.MASK);
        this.#get(LOCAL.PLACE);
        w.op("i32.shr_s", "i32.and");
      });
    });
  }

  /** Push a flag: bit `at` if the i32 that `condition` pushes is 1. */
  #flag(at: number, condition: () => void): void {
    condition();
    this.e.w.i32(at);
    this.e.w.op("i32.shl");
  }

  #polarity(): void {
    const { w } = this.e;
    this.#control(STRING_CONTROL.NEGATE);
    w.if(() =>
      this.#set(LOCAL.RESULT, () => {
        this.#get(LOCAL.RESULT);
        this.#get(LOCAL.SECOND);
        w.i32(-1);
        this.#control(STRING_CONTROL.NEGATE_VALID_ALONE);
        w.op("select", "i32.xor");
      }),
    );
    this.#set(LOCAL.RESULT, () => {
      this.#get(LOCAL.RESULT);
      w.i32(this.#all);
      w.op("i32.and");
    });
  }

  emit(): void {
    const { e } = this;
    const { w } = e;
    this.#set(LOCAL.CONTROL, () => {
      e.imm();
      w.op("i32.wrap_i64");
    });
    this.#set(LOCAL.FIRST, () => this.#valid(() => e.va(), "rax"));
    this.#set(LOCAL.SECOND, () => this.#valid(() => e.vb(), "rdx"));
    this.#set(LOCAL.RESULT, () => w.i32(0));
    this.#control(8);
    w.if(
      () => {
        this.#control(4);
        w.if(
          () => this.#equalOrdered(),
          () => this.#equalEach(),
        );
      },
      () => {
        this.#control(4);
        w.if(
          () => this.#ranges(),
          () => this.#equalAny(),
        );
        this.#set(LOCAL.RESULT, () => {
          this.#get(LOCAL.RESULT);
          this.#get(LOCAL.SECOND);
          w.op("i32.and");
        });
      },
    );
    this.#polarity();
    e.setD(() => {
      this.#get(LOCAL.RESULT);
      w.op("i64.extend_i32_u");
      this.#index();
      w.op("i64.extend_i32_u");
      w.i64(16n);
      w.op("i64.shl", "i64.or");
      this.#flag(0, () => {
        this.#get(LOCAL.RESULT);
        w.op("i32.eqz", "i32.eqz");
      });
      for (const [at, string] of [
        [6, LOCAL.SECOND],
        [7, LOCAL.FIRST],
      ] as const) {
        this.#flag(at, () => {
          this.#get(string);
          w.i32(this.#all);
          w.op("i32.ne");
        });
        w.op("i32.or");
      }
      this.#flag(11, () => {
        this.#get(LOCAL.RESULT);
        w.i32(1);
        w.op("i32.and");
      });
      w.op("i32.or", "i64.extend_i32_u");
      w.i64(32n);
      w.op("i64.shl", "i64.or");
    });
  }

  #index(): void {
    const { w } = this.e;
    w.i32(31);
    this.#get(LOCAL.RESULT);
    w.op("i32.clz", "i32.sub");
    this.#get(LOCAL.RESULT);
    w.op("i32.ctz");
    this.#control(STRING_CONTROL.LAST);
    w.op("select");
    w.i32(this.#count);
    this.#get(LOCAL.RESULT);
    w.op("select");
  }
}
