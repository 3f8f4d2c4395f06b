// Runs scriptArgs[0] the way programs expect: timers, console.error, process, an event loop.
import * as std from "qjs:std";
import * as os from "qjs:os";

const timers = new Map();
let lastTimer = 0;

function later(repeat) {
  return (callback, delay = 0, ...args) => {
    const id = ++lastTimer;
    const pause = Math.max(0, Math.trunc(Number(delay)) || 0);
    const arm = () => timers.set(id, os.setTimeout(fire, pause));
    const fire = () => {
      if (repeat) arm();
      else timers.delete(id);
      callback(...args);
    };
    arm();
    return id;
  };
}

function clear(id) {
  if (timers.has(id)) os.clearTimeout(timers.get(id));
  timers.delete(id);
}

function written(stream) {
  return (text) => {
    stream.puts(String(text));
    stream.flush();
    return true;
  };
}

// The worker opens the pipe when there is an order beside it (started.py).
function ordered() {
  std.open("/.start/go", "r")?.close();
  const order = JSON.parse(std.loadFile("/.start/order"));
  if (order === null) std.exit(0);
  for (const name of Object.keys(std.getenviron())) if (!(name in order.env)) std.unsetenv(name);
  for (const [name, value] of Object.entries(order.env)) std.setenv(name, value);
  globalThis.scriptArgs = order.argv;
  return order.argv;
}

function shown(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return `${value}\n${value.stack ?? ""}`.trimEnd();
  try {
    return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
  } catch {
    return String(value);
  }
}

const complain = (...values) => written(std.err)(`${values.map(shown).join(" ")}\n`);
const [entry, ...args] = scriptArgs[0] === "/.start/go" ? ordered() : scriptArgs;
Object.assign(globalThis, {
  setTimeout: later(false),
  setInterval: later(true),
  setImmediate: (callback, ...rest) => globalThis.setTimeout(callback, 0, ...rest),
  clearTimeout: clear,
  clearInterval: clear,
  clearImmediate: clear,
  process: {
    argv: ["qjs", entry, ...args],
    env: std.getenviron(),
    platform: "wasi",
    cwd: () => "/",
    exit: (code = 0) => std.exit(code),
    stdout: { write: written(std.out) },
    stderr: { write: written(std.err) },
  },
});
globalThis.console.error = complain;
globalThis.console.warn = complain;
globalThis.console.info ??= globalThis.console.log;
globalThis.console.debug ??= globalThis.console.log;

function isModule(name, source) {
  return name.endsWith(".mjs") ||
    /^\s*(import\s*[\w{*"']|export\s)|^(?!\s*(\/\/|\*)).*\bawait\b/m.test(source);
}

const LATER = /\b(Promise|async|await|then|import|queueMicrotask|eval|Function)\b/;

try {
  const source = entry === undefined ? null : std.loadFile(entry);
  if (source === null) {
    complain(entry === undefined ? "usage: qjs FILE [ARGS...]" : `qjs: cannot read ${entry}`);
    std.exit(2);
  }
  if (isModule(entry, source)) await import(entry.startsWith("/") ? entry : `./${entry}`);
  else std.loadScript(entry);
  // A timer fires when all promises are settled, so one of our own sees whether more is to come.
  // It takes two milliseconds, which a program that has neither timers nor promises is spared.
  if (timers.size || LATER.test(source)) {
    do await new Promise((done) => os.setTimeout(done, timers.size ? 1 : 0));
    while (timers.size);
  }
} catch (error) {
  complain(error instanceof Error ? `${error}\n${error.stack ?? ""}`.trimEnd() : `Uncaught ${shown(error)}`);
  std.exit(1);
}
std.out.flush();
std.err.flush();
