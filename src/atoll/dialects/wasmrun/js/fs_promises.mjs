// `fs/promises` for ES modules: the names are those of the patched object.
import patched from "node:fs/promises";

export default patched;
export const {
  access, appendFile, chmod, chown, constants, copyFile, cp, glob, lchmod, lchown, link, lstat,
  lutimes, mkdir, mkdtemp, mkdtempDisposable, open, opendir, readFile, readdir, readlink,
  realpath, rename, rm, rmdir, stat, statfs, symlink, truncate, unlink, utimes, watch, writeFile,
} = patched;
