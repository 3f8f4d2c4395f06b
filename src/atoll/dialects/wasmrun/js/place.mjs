// A session's files are its root: "/x" in a program is "/workspace/x" in the sandbox.
import { kind } from "./look.mjs";

const SYSTEM = new Set([
  "bin", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "proc", "root", "run", "sbin",
  "srv", "sys", "tmp", "usr", "var",
]);

export function placer(root) {
  return (path) => {
    if (path === "/") return root;
    const first = path.split("/").find((part) => part !== "" && part !== ".");
    if (first === undefined) return root;
    const inRoot = path === root || path.startsWith(`${root}/`);
    if (inRoot || (SYSTEM.has(first) && kind(`${root}/${first}`) === undefined)) return path;
    return `${root}/${path.replace(/^\/+/, "")}`;
  };
}
