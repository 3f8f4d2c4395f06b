// Makes `fs` see a session's files as its root.
import { fileURLToPath } from "node:url";

const ONE = [
  "access", "appendFile", "chmod", "chown", "createReadStream", "createWriteStream", "exists",
  "lchown", "lstat", "lutimes", "mkdir", "mkdtemp", "open", "openAsBlob", "opendir", "readFile",
  "readdir", "readlink", "realpath", "rm", "rmdir", "stat", "statfs", "truncate", "unlink",
  "unwatchFile", "utimes", "watch", "watchFile", "writeFile",
];
const TWO = ["copyFile", "cp", "link", "rename"];

export function patchFiles(fs, fsPromises, place) {
  const placed = (value) => {
    if (typeof value === "string") return value.startsWith("/") ? place(value) : value;
    if (value instanceof URL && value.protocol === "file:") return place(fileURLToPath(value));
    if (value instanceof Uint8Array) return placed(new TextDecoder().decode(value));
    return value;
  };
  const wrap = (owner, name, count) => {
    const real = owner?.[name];
    if (typeof real !== "function") return;
    const wrapped = function (...args) {
      for (let i = 0; i < count; i++) args[i] = placed(args[i]);
      return Reflect.apply(real, owner, args);
    };
    Object.defineProperties(wrapped, Object.getOwnPropertyDescriptors(real));
    owner[name] = wrapped;
  };
  for (const [names, count] of [[ONE, 1], [TWO, 2]]) {
    for (const name of names) {
      wrap(fs, name, count);
      wrap(fs, `${name}Sync`, count);
      wrap(fsPromises, name, count);
      if (fs.promises !== fsPromises) wrap(fs.promises, name, count);
    }
  }
  const streams = new Map([["/dev/stdin", 0], ["/dev/stdout", 1], ["/dev/stderr", 2]]);
  for (const name of ["readFile", "writeFile", "appendFile"]) {
    // The pipes belong to who started the program, and cannot be opened by name.
    for (const each of [name, `${name}Sync`]) {
      const real = fs[each];
      fs[each] = (path, ...rest) => real.call(fs, streams.get(path) ?? path, ...rest);
    }
    const real = fsPromises[name];
    fsPromises[name] = async (path, ...rest) =>
      streams.has(path) ? fs[`${name}Sync`](path, ...rest) : real.call(fsPromises, path, ...rest);
  }
  for (const owner of [fs, fsPromises]) {
    const real = owner.symlink;
    owner.symlink = (target, path, ...rest) => real.call(owner, target, placed(path), ...rest);
  }
  const real = fs.symlinkSync;
  fs.symlinkSync = (target, path, ...rest) => real.call(fs, target, placed(path), ...rest);
}
