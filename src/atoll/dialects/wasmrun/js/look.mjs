// Looking at files on the way to a module. Not by `fs`, which many programs never load.
const { readTextFileSync, statSync } = Deno;
const ENDINGS = [".js", ".ts", ".tsx", ".jsx", ".mjs", ".cjs", ".mts", ".cts", ".json"];
const TYPED = new Map([[".js", [".ts", ".tsx"]], [".jsx", [".tsx"]], [".mjs", [".mts"]], [".cjs", [".cts"]]]);

// What is at a path; undefined where nothing is, or nothing that can be looked at.
export function kind(path) {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

export function isFile(path) {
  return kind(path)?.isFile ?? false;
}

// The file that is meant by a path, or null.
export function existing(path) {
  const entry = kind(path);
  if (entry?.isFile) return path;
  for (const ending of ENDINGS) if (isFile(path + ending)) return path + ending;
  const dot = path.lastIndexOf(".");
  for (const ending of TYPED.get(path.slice(dot)) ?? []) {
    if (isFile(path.slice(0, dot) + ending)) return path.slice(0, dot) + ending;
  }
  if (!entry?.isDirectory) return null;
  const manifest = `${path}/package.json`;
  const main = isFile(manifest) ? readJsonc(manifest)?.main : undefined;
  if (typeof main === "string" && main !== "." && main !== "./") {
    const file = existing(`${path}/${main}`);
    if (file !== null) return file;
  }
  for (const ending of ENDINGS) if (isFile(`${path}/index${ending}`)) return `${path}/index${ending}`;
  return null;
}

// JSON with comments and trailing commas; undefined when it is not even that.
export function readJsonc(path) {
  const text = readTextFileSync(path).replace(/^\uFEFF/, "");
  const token = /"(?:[^"\\]|\\.)*"|\/\/[^\n]*|\/\*[\s\S]*?\*\/|,(?=(?:\s|\/\/[^\n]*|\/\*[\s\S]*?\*\/)*[}\]])/g;
  try {
    return JSON.parse(text.replace(token, (hit) => (hit.startsWith('"') ? hit : " ")));
  } catch {
    return undefined;
  }
}
