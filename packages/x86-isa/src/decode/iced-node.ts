/** iced-x86 as Node loads it. Browsers get dist/decode/iced-browser.js in its place. */
export * from "iced-x86";
