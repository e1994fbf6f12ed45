import { offerNamedBackend } from "./named-backend.js";
import { processorName } from "./run.js";

for (const interceptors of [[], [offerNamedBackend("A processor by another name")]]) {
  const { backend, name } = await processorName(interceptors);
  console.log(`on ${String(backend)} the guest finds: ${name}`);
}
