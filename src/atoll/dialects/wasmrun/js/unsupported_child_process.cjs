// `child_process` is there, so that packages which only mention it load; using it is an error.
"use strict";
const { refusing } = require("./refusing.cjs");

const refuse = refusing("child_process");
exports.ChildProcess = refuse("ChildProcess");
exports.exec = refuse("exec");
exports.execFile = refuse("execFile");
exports.execFileSync = refuse("execFileSync");
exports.execSync = refuse("execSync");
exports.fork = refuse("fork");
exports.spawn = refuse("spawn");
exports.spawnSync = refuse("spawnSync");
