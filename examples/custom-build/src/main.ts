import { runGuest } from "./run.js";

const { text, stop } = await runGuest();
console.log(`the guest's device says: 1 + 2 + ... + 100 = ${text}; it ended with ${stop}`);
