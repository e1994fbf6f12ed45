export { svmBackend } from "./backend.js";
