// Runs before each program: makes the engine behave as programs of this API expect.
// Nothing here is a boundary; the sandbox around it is.
import { createRequire, registerHooks } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { patchFiles } from "./files.mjs";
import { placer } from "./place.mjs";
import { resolver } from "./resolve.mjs";

const here = import.meta.dirname;
const root = Deno.env.get("ATOLL_SESSION_ROOT") ?? "/workspace";
Deno.env.delete("ATOLL_SESSION_ROOT");
for (const name of ["DENO_DIR", "DENO_COMPAT", "DENO_NO_UPDATE_CHECK"]) Deno.env.delete(name);

const place = placer(root);
const own = createRequire(import.meta.url);
let patched = false;
// When a program first asks for `fs`: that takes as long as all the rest.
function patch() {
  if (patched) return;
  patched = true;
  patchFiles(own("node:fs"), own("node:fs/promises"), place);
}
const builtin = process.getBuiltinModule;
process.getBuiltinModule = function getBuiltinModule(name) {
  if (/^(node:)?fs(\/promises)?$/.test(name)) patch();
  return Reflect.apply(builtin, process, [name]);
};
registerHooks({ resolve: resolver({ root, here, place, patch }) });

const define = (name, value) =>
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
// ES modules may call require, too.
define("require", createRequire(pathToFileURL(join(root, "_"))));

function noNetwork(what) {
  const error = new Error(`${what}: network access is not supported`);
  error.code = "ERR_NETWORK_UNSUPPORTED";
  return error;
}
define("fetch", async function fetch() {
  throw noNetwork("fetch");
});
for (const name of ["WebSocket", "EventSource", "WebSocketStream"]) {
  define(name, class {
    constructor() {
      throw noNetwork(name);
    }
  });
}
