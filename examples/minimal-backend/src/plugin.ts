import { offerNamedBackend } from "./named-backend.js";

/** For `tapvisor run IMAGE --plugin examples/minimal-backend/dist/plugin.js`. */
export default offerNamedBackend("A processor by another name");
