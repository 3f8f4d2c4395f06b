// Where an import leads: extensions may be left out, "./x.js" may be "x.ts", tsconfig paths hold.
import { isBuiltin } from "node:module";
import { dirname, join, resolve as absolute } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { existing, isFile, readJsonc } from "./look.mjs";

const UNSUPPORTED = new Set(["zlib", "child_process", "worker_threads"]);
const PATCHED = new Map([["fs", "fs.mjs"], ["fs/promises", "fs_promises.mjs"]]);

export function resolver({ root, here, place, patch }) {
  const own = (name) => ({ url: pathToFileURL(join(here, name)).href, shortCircuit: true });
  const found = (path) => ({ url: pathToFileURL(path).href, shortCircuit: true });
  const aliases = readAliases(root);

  return function resolve(specifier, context, next) {
    const parent = parentOf(context, root);
    if (parent.startsWith(`${here}/`)) return next(specifier, context);
    const name = specifier.replace(/^node:/, "");
    if (UNSUPPORTED.has(name)) return own(`unsupported_${name}.cjs`);
    if (specifier === "node:test") return own("test.cjs");
    if (isBuiltin(specifier)) {
      const asked = context.conditions ?? [];
      const patched = PATCHED.get(name);
      if (patched) patch();
      if (patched && !asked.includes("require")) return own(patched);
      return asked.includes("require") ? next(specifier, context) : next(`node:${name}`, context);
    }
    const path = pathOf(specifier, parent, place);
    if (path !== null) {
      const file = existing(path);
      return file === null ? next(specifier, context) : found(file);
    }
    if (!parent.includes("/node_modules/")) {
      for (const target of aliased(specifier, aliases)) {
        const file = existing(target);
        if (file !== null) return found(file);
      }
    }
    return packaged(specifier, context, next, parent);
  };
}

function packaged(specifier, context, next, parent) {
  try {
    return next(specifier, context);
  } catch (error) {
    const file = onlyForImport(specifier, dirname(parent));
    if (file === null) throw error;
    return { url: pathToFileURL(file).href, shortCircuit: true };
  }
}

// A package that exports only ES modules, for who asks with require.
function onlyForImport(specifier, directory) {
  const [, name, rest] = /^((?:@[^/]+\/)?[^/]+)(?:\/(.*))?$/.exec(specifier) ?? [];
  if (name === undefined) return null;
  for (let at = directory; ; at = dirname(at)) {
    const home = join(at, "node_modules", name);
    const manifest = join(home, "package.json");
    if (isFile(manifest)) {
      const { exports, module } = readJsonc(manifest) ?? {};
      const target = exports === undefined ? module : exported(exports, rest ? `./${rest}` : ".");
      return typeof target === "string" ? existing(join(home, target)) : null;
    }
    if (at === dirname(at)) return null;
  }
}

function exported(exports, path) {
  if (typeof exports === "string") return path === "." ? exports : null;
  if (Array.isArray(exports)) return exported(exports[0], path);
  const keys = Object.keys(exports ?? {});
  if (keys.some((key) => key.startsWith("."))) {
    if (exports[path] !== undefined) return exported(exports[path], ".");
    for (const key of keys.filter((each) => each.includes("*"))) {
      const [head, tail] = key.split("*");
      if (path.startsWith(head) && path.endsWith(tail)) {
        const middle = path.slice(head.length, path.length - tail.length);
        return exported(exports[key], ".")?.replaceAll("*", () => middle) ?? null;
      }
    }
    return null;
  }
  const wanted = keys.find((key) => ["import", "module-sync", "node", "require", "default"].includes(key));
  return wanted === undefined || path !== "." ? null : exported(exports[wanted], ".");
}

function parentOf(context, root) {
  const url = context.parentURL;
  if (!url) return join(root, "_");
  return url.startsWith("file:") ? fileURLToPath(url) : url;
}

function pathOf(specifier, parent, place) {
  if (/^\.{1,2}(\/|$)/.test(specifier)) return absolute(dirname(parent), specifier);
  if (specifier.startsWith("/")) return place(specifier);
  if (specifier.startsWith("file:")) return place(fileURLToPath(specifier));
  return null;
}

function readAliases(root) {
  const file = join(root, "tsconfig.json");
  const options = isFile(file) ? readJsonc(file)?.compilerOptions : undefined;
  if (typeof options?.paths !== "object" || options.paths === null) return [];
  const base = absolute(root, typeof options.baseUrl === "string" ? options.baseUrl : ".");
  return Object.entries(options.paths)
    .filter(([, targets]) => Array.isArray(targets))
    .map(([pattern, targets]) => ({ pattern, targets: targets.map((t) => absolute(base, `${t}`)) }));
}

function aliased(specifier, aliases) {
  const hits = [];
  for (const { pattern, targets } of aliases) {
    const [head, tail] = pattern.split("*");
    if (tail === undefined) {
      if (specifier === pattern) hits.push(...targets);
    } else if (
      specifier.length >= head.length + tail.length && specifier.startsWith(head) &&
      specifier.endsWith(tail)
    ) {
      const middle = specifier.slice(head.length, specifier.length - tail.length);
      hits.push(...targets.map((target) => target.replace("*", () => middle)));
    }
  }
  return hits;
}
