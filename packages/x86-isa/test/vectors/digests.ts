import type { Bitness } from "../../src/index.js";
import { CASES_PER_FORM, generateCase } from "./cases.js";
import type { Form } from "./forms.js";
import type { Case } from "./layout.js";
import type { Origin, Outcome } from "./program.js";

/**
 * What is committed of a recording: a byte for each case, which finds most differences and names the case, and 32 bits
 * for all cases of a form, which find the rest. What a processor did in full is found out by recording the case again.
 */
export interface FormDigest {
  readonly whole: number;
  readonly cases: Uint8Array;
}

const PRIME = 0x01000193;
const BASIS = 0x811c9dc5;
const LITTLE = 0xffff_ffffn;

const mix = (hash: number, word: number): number => {
  const h = Math.imul(hash ^ word, PRIME);
  return h ^ (h >>> 15);
};

/** Of what is compared of an outcome (`compared` in compare.ts). */
export function digestOutcome(o: Outcome): number {
  let hash = mix(BASIS, o.vector ?? 255);
  hash = mix(hash, o.flags);
  hash = mix(mix(hash, Number(o.ip & LITTLE)), Number(o.ip >> 32n));
  for (const value of o.gprs) hash = mix(mix(hash, Number(value & LITTLE)), Number(value >> 32n));
  const { fx } = o;
  for (let n = 0; n < fx.length; n += 4)
    hash = mix(hash, (fx[n] ?? 0) | ((fx[n + 1] ?? 0) << 8) | ((fx[n + 2] ?? 0) << 16) | ((fx[n + 3] ?? 0) << 24));
  for (const [address, value] of o.memory) hash = mix(hash, (address << 8) | value);
  return hash >>> 0;
}

/** Gathers the digests of one form's cases. */
export class FormDigester {
  #whole = BASIS;
  #count = 0;
  readonly #cases = new Uint8Array(CASES_PER_FORM);

  add(digest: number): number {
    this.#whole = mix(this.#whole, digest);
    const byte = (digest ^ (digest >>> 8) ^ (digest >>> 16) ^ (digest >>> 24)) & 0xff;
    this.#cases[this.#count++] = byte;
    return byte;
  }

  finish(): FormDigest {
    return { whole: this.#whole >>> 0, cases: this.#cases };
  }
}

function digestCase(start: number, c: Case): number {
  let hash = start;
  for (const byte of c.bytes) hash = mix(hash, byte);
  for (const value of c.gprs) hash = mix(hash, Number(BigInt.asUintN(32, value ^ (value >> 32n))));
  for (const byte of c.memory) hash = mix(hash, byte);
  for (const byte of c.fx) hash = mix(hash, byte);
  return mix(hash, c.flags);
}

/** A digest of the forms and of some of their cases, so that vectors of another generator are recognized. */
export function digestInputs(forms: readonly Form[]): number {
  let hash = BASIS;
  for (const form of forms) {
    for (const char of form.id) hash = mix(hash, char.charCodeAt(0));
    hash = digestCase(hash, generateCase(form, 0));
  }
  return hash >>> 0;
}

interface Header extends Origin {
  readonly bitness: number;
  readonly forms: number;
  readonly cases: number;
  readonly inputs: number;
}

const FORM_BYTES = 4 + CASES_PER_FORM;

export function encodeDigests(
  bitness: Bitness,
  origin: Origin,
  forms: readonly Form[],
  digests: readonly FormDigest[],
): Uint8Array {
  const fields: Header = {
    ...origin,
    bitness,
    forms: forms.length,
    cases: CASES_PER_FORM,
    inputs: digestInputs(forms),
  };
  const header = new TextEncoder().encode(`${JSON.stringify(fields)}\n`);
  const bytes = new Uint8Array(header.length + digests.length * FORM_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(header);
  digests.forEach(({ whole, cases }, n) => {
    const at = header.length + n * FORM_BYTES;
    view.setUint32(at, whole, true);
    bytes.set(cases, at + 4);
  });
  return bytes;
}

export function decodeDigests(
  file: Uint8Array,
  bitness: Bitness,
  forms: readonly Form[],
): { origin: Origin; digests: readonly FormDigest[] } {
  const end = file.indexOf(0x0a) + 1;
  const header = JSON.parse(new TextDecoder().decode(file.subarray(0, end))) as Header;
  if (
    header.bitness !== bitness ||
    header.forms !== forms.length ||
    header.cases !== CASES_PER_FORM ||
    header.inputs !== digestInputs(forms)
  ) {
    throw new Error(`the vectors of ${bitness}-bit code are stale: run "pnpm record"`);
  }
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const digests = forms.map((_, n): FormDigest => {
    const at = end + n * FORM_BYTES;
    return { whole: view.getUint32(at, true), cases: file.subarray(at + 4, at + FORM_BYTES) };
  });
  return { origin: { processor: header.processor, selectors: header.selectors }, digests };
}
