// `fs` for ES modules: the names are those of the patched object.
import patched from "node:fs";

export default patched;
export const {
  BigIntStats, CFISBIS, Dir, Dirent, ReadStream, Stats, SyncWriteStream, Utf8Stream,
  WriteStream, access, accessSync, appendFile, appendFileSync, chmod, chmodSync, chown,
  chownSync, close, closeSync, constants, convertFileInfoToBigIntStats, convertFileInfoToStats,
  copyFile, copyFileSync, cp, cpSync, createReadStream, createWriteStream, exists, existsSync,
  fchmod, fchmodSync, fchown, fchownSync, fdatasync, fdatasyncSync, fstat, fstatSync, fsync,
  fsyncSync, ftruncate, ftruncateSync, futimes, futimesSync, glob, globSync, lchmod, lchmodSync,
  lchown, lchownSync, link, linkSync, lstat, lstatSync, lutimes, lutimesSync, mkdir, mkdirSync,
  mkdtemp, mkdtempDisposableSync, mkdtempSync, open, openAsBlob, openSync, opendir, opendirSync,
  promises, read, readFile, readFilePromise, readFileSync, readSync, readdir, readdirSync,
  readlink, readlinkPromise, readlinkSync, readv, readvPromise, readvSync, realpath,
  realpathSync, rename, renameSync, rm, rmSync, rmdir, rmdirSync, stat, statSync, statfs,
  statfsSync, symlink, symlinkSync, truncate, truncateSync, unlink, unlinkSync, unwatchFile,
  utimes, utimesSync, watch, watchFile, watchPromise, write, writeFile, writeFileSync,
  writeSync, writev, writevSync,
} = patched;
