// Comes before a program of node's (`--require`): see deno.js, whose frames and jobs it shares.
"use strict";
(() => {
  const fs = require("node:fs");
  if (!require("node:worker_threads").isMainThread) return;
  const { parse, stringify } = JSON;
  const { writeSync, readSync, writeFileSync, rmSync } = fs;
  const exit = process.exit.bind(process);
  const string = String;
  const LONGEST = 2 * 1024 * 1024;

  function whole() {
    const parts = [];
    for (;;) {
      const block = Buffer.alloc(65536);
      const n = readSync(0, block);
      if (n === 0) break;
      parts.push(block.subarray(0, n));
      if (block[n - 1] === 10) break;
    }
    return Buffer.concat(parts).toString();
  }

  process.execArgv = process.execArgv.filter((each, i, all) =>
    each !== __filename && !(each === "--require" && all[i + 1] === __filename) &&
    each !== "--no-expose-wasm");
  let job = null;
  if (process.env.ATOLL_RESULT) {
    job = { nonce: process.env.ATOLL_RESULT };
    delete process.env.ATOLL_RESULT;
  } else {
    const line = whole();
    if (!line) return;
    job = parse(line);
    if (typeof job.code === "string") writeFileSync(job.main, job.code, { flag: "wx" });
    Object.assign(process.env, job.env ?? {});
    process.argv.push(...job.args);
    if (job.cwd) process.chdir(job.cwd);
  }

  let result, error, exited = false;

  function text(value) {
    const found = stringify(value === undefined ? null : value);
    if (found === undefined) throw new TypeError("result.set: the value is no JSON");
    if (found.length > LONGEST) throw new RangeError("result.set: the value is too long");
    return found;
  }

  function described(e) {
    if (e instanceof Error) {
      return text({ name: string(e.name), message: string(e.message), stack: string(e.stack ?? "") });
    }
    if (e !== null && typeof e === "object") return text(e);
    return text({ name: "Error", message: string(e) });
  }

  const helper = Object.freeze({
    set(value) { result = text(value); },
    error(e) { error = described(e); process.exitCode = 1; },
  });
  Object.defineProperty(globalThis, "result", { value: helper, configurable: true });

  process.exit = (n) => { exited = true; return exit(n); };
  process.on("uncaughtException", (e) => {
    try { error = described(e); } catch (other) { error = described(other); }
    exit(1);
  });

  function put(data) {
    for (let at = 0; at < data.length;) {
      try { at += writeSync(1, data, at); } catch (e) { if (e.code !== "EAGAIN") return; }
    }
  }

  process.on("exit", (code) => {
    for (const path of job.litter ?? []) rmSync(path, { force: true });
    const members = [`"code":${code | 0}`, `"exited":${exited}`];
    if (!exited && result !== undefined) members.push(`"result":${result}`);
    if (!exited && error !== undefined) members.push(`"error":${error}`);
    const body = Buffer.from(`{${members.join(",")}}`);
    put(Buffer.concat([Buffer.from(`\0atoll:${job.nonce}:${body.length}\n`), body]));
  });
})();
