// Comes before a program of deno's (`--preload`): gives it `result`, and tells at the end what it set.
//
// Its job is a line of JSON on standard input, unless ATOLL_RESULT is set; a process that waits for
// that line is a warm one, whose main module need not be there yet. What it tells is a frame on
// standard output: a NUL, "atoll:", the job's nonce, ":", a length, a line feed, JSON.
(() => {
  const { parse, stringify } = JSON;
  const { exit, removeSync, writeTextFileSync, chdir } = Deno;
  const stdout = Deno.stdout.writeSync.bind(Deno.stdout);
  const encoder = new TextEncoder();
  const string = String;
  const LONGEST = 2 * 1024 * 1024;

  function whole() {
    const parts = [];
    const block = new Uint8Array(65536);
    let size = 0;
    for (;;) {
      const n = Deno.stdin.readSync(block);
      if (n === null) break;
      parts.push(block.slice(0, n));
      size += n;
      if (block[n - 1] === 10) break;
    }
    const all = new Uint8Array(size);
    let at = 0;
    for (const part of parts) { all.set(part, at); at += part.length; }
    return new TextDecoder().decode(all);
  }

  let job = null;
  try {
    const nonce = Deno.env.get("ATOLL_RESULT");
    if (nonce) { job = { nonce }; Deno.env.delete("ATOLL_RESULT"); }
  } catch { /* its environment is closed to it, and so the job is on standard input */ }
  if (job === null) {
    const line = whole();
    if (!line) return;
    job = parse(line);
    if (typeof job.code === "string") writeTextFileSync(job.main, job.code, { createNew: true });
    for (const [name, value] of Object.entries(job.env ?? {})) Deno.env.set(name, value);
    Object.defineProperty(Deno, "args", { value: Object.freeze([...job.args]), configurable: true });
  }

  let result, error, exited = false, code = 0;

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

  function failed(e) {
    try { error = described(e); } catch (other) { error = described(other); }
    Deno.exitCode = 1;
  }

  const helper = Object.freeze({
    set(value) { result = text(value); },
    error(e) { error = described(e); Deno.exitCode = 1; },
  });
  Object.defineProperty(globalThis, "result", { value: helper, configurable: true });

  try {
    Deno.exit = (n) => { exited = true; code = n ?? Deno.exitCode; return exit(n); };
  } catch { /* then its status alone says that it has exited */ }
  for (const kind of ["error", "unhandledrejection"]) {
    addEventListener(kind, (event) => {
      event.preventDefault();
      failed(kind === "error" ? event.error : event.reason);
      exit(1);
    });
  }
  addEventListener("unload", () => {
    for (const path of job.litter ?? []) {
      try { removeSync(path); } catch { /* it is gone, or never was */ }
    }
    if (!exited) code = Deno.exitCode;
    const members = [`"code":${code | 0}`, `"exited":${exited}`];
    if (!exited && result !== undefined) members.push(`"result":${result}`);
    if (!exited && error !== undefined) members.push(`"error":${error}`);
    const body = encoder.encode(`{${members.join(",")}}`);
    const head = encoder.encode(`\0atoll:${job.nonce}:${body.length}\n`);
    const frame = new Uint8Array(head.length + body.length);
    frame.set(head);
    frame.set(body, head.length);
    for (let at = 0; at < frame.length;) at += stdout(frame.subarray(at));
  });
  if (job.cwd) chdir(job.cwd);
})();
