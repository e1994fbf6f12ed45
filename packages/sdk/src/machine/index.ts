export { createMachine, type Machine } from "./create-machine.js";
export {
  defineMachine, type Board, type MachineDefinition, type MachineHost, type PlacedDevice,
} from "./define-machine.js"; // prettier-ignore
