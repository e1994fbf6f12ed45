export { uart16550, type Uart16550Actions, type Uart16550Context } from "./uart16550.js";
export type { ReceivedCharacter, Uart16550State } from "./state.js";
