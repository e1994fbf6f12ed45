import { InvalidArgumentError } from "commander";

/** The value of an option that counts something: a whole number, in decimal, from `least` on. */
const from = (least) => (text) => {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least)
    throw new InvalidArgumentError(`It is no whole number from ${least} on.`);
  return value;
};

export const wholeNumber = from(0);
export const positiveNumber = from(1);
