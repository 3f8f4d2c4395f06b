// `node:test`: test, it, describe, suite, hooks, skip and todo; TAP 13 on stdout, exit 1 on failure.
"use strict";
const fs = require("node:fs");

const write = fs.writeSync;
const HOOKS = ["before", "after", "beforeEach", "afterEach"];
const counts = { tests: 0, suites: 0, pass: 0, fail: 0, skipped: 0, todo: 0 };
const root = suiteOf(null, "");
let current = root;
let begun = false;

function suiteOf(parent, name) {
  const hooks = Object.fromEntries(HOOKS.map((each) => [each, []]));
  return { parent, name, hooks, items: [] };
}

function say(depth, text) {
  const pad = "    ".repeat(depth);
  write(1, text.split("\n").map((line) => `${pad}${line}\n`).join(""));
}

function readArguments(args) {
  const fn = args.find((each) => typeof each === "function");
  const options = args.find((each) => typeof each === "object" && each !== null) ?? {};
  const named = typeof args[0] === "string" ? args[0] : "";
  return { name: named || fn?.name || "<anonymous>", options, fn };
}

function declare(kind, args, extra = {}) {
  const { name, options, fn } = readArguments(args);
  const item = { kind, name, fn, ...options, ...extra };
  if (fn === undefined && !item.todo) item.skip = item.skip ?? false;
  item.done = new Promise((settle) => { item.settle = settle; });
  current.items.push(item);
  if (kind === "suite") collect(item);
  begin();
  return kind === "suite" ? undefined : item.done;
}

function collect(item) {
  const outer = current;
  item.suite = suiteOf(outer, item.name);
  current = item.suite;
  try {
    const result = item.skip ? undefined : item.fn?.call({}, { name: item.name });
    if (typeof result?.then === "function") item.ready = result;
  } catch (error) {
    item.broken = error;
  } finally {
    current = outer;
  }
}

function begin() {
  if (begun) return;
  begun = true;
  say(0, "TAP version 13");
  let done = 0;
  const loop = async () => {
    await callHooks(root, "before");
    for (; done < root.items.length; done++) await runItem(root.items[done], root, 0, done + 1);
  };
  let running = new Promise((start) => setImmediate(start)).then(loop);
  process.on("beforeExit", () => {
    if (root.over) return;
    if (done < root.items.length && !root.stuck) {
      root.stuck = true;
      const item = root.items[done];
      if (item.started) report(0, done + 1, item, failure("Promise resolution is still pending"), 0);
    }
    root.over = true;
    summary();
  });
  running = running.then(() => callHooks(root, "after")).catch((error) => {
    process.exitCode = 1;
    say(0, `# ${error?.stack ?? error}`);
  });
}

function summary() {
  say(0, `1..${root.items.length}`);
  const { tests, suites, pass, fail, skipped, todo } = counts;
  say(0, `# tests ${tests}\n# suites ${suites}\n# pass ${pass}\n# fail ${fail}\n# cancelled 0`);
  say(0, `# skipped ${skipped}\n# todo ${todo}`);
  if (fail > 0) process.exitCode = 1;
}

function failure(message) {
  return Object.assign(new Error(message), { code: "ERR_TEST_FAILURE" });
}

async function callHooks(suite, which) {
  for (const hook of suite.hooks[which]) await call(hook, {});
}

function chainOf(suite) {
  return suite === null ? [] : [...chainOf(suite.parent), suite];
}

function call(fn, context) {
  if (fn.length < 2) return fn.call(context, context);
  return new Promise((resolve, reject) => {
    fn.call(context, context, (error) => (error ? reject(error) : resolve()));
  });
}

async function runItem(item, suite, depth, number) {
  item.started = true;
  const begunAt = performance.now();
  say(depth, `# Subtest: ${escaped(item.name)}`);
  let error = item.broken;
  const skipped = item.skip !== undefined && item.skip !== false;
  try {
    if (!skipped && error === undefined) {
      if (item.kind === "suite") await runSuite(item, depth);
      else if (item.fn) await runTest(item, suite, depth);
    }
  } catch (thrown) {
    error = thrown ?? failure("undefined was thrown");
  }
  report(depth, number, item, error, performance.now() - begunAt);
  item.settle();
  return error === undefined || Boolean(item.todo);
}

async function runSuite(item, depth) {
  await item.ready;
  await callHooks(item.suite, "before");
  let bad = 0;
  for (let i = 0; i < item.suite.items.length; i++) {
    if (!(await runItem(item.suite.items[i], item.suite, depth + 1, i + 1))) bad++;
  }
  if (item.suite.items.length > 0) say(depth + 1, `1..${item.suite.items.length}`);
  await callHooks(item.suite, "after");
  if (bad > 0) throw failure(`${bad} subtest${bad > 1 ? "s" : ""} failed`);
}

async function runTest(item, suite, depth) {
  const own = suiteOf(null, item.name);
  let bad = 0;
  const context = contextOf(item, own, depth, (fine) => { if (!fine) bad++; });
  const suites = chainOf(suite);
  for (const each of suites) for (const hook of each.hooks.beforeEach) await call(hook, context);
  try {
    await limited(call(item.fn, context), item.timeout);
    await context.pending;
  } finally {
    for (const each of suites.reverse()) {
      for (const hook of each.hooks.afterEach) await call(hook, context);
    }
    for (const hook of own.hooks.after) await call(hook, context);
  }
  if (own.items.length > 0) say(depth + 1, `1..${own.items.length}`);
  if (bad > 0) throw failure(`${bad} subtest${bad > 1 ? "s" : ""} failed`);
}

function contextOf(item, own, depth, noteSubtest) {
  const context = {
    name: item.name,
    signal: new AbortController().signal,
    assert: require("node:assert"),
    mock: module.exports.mock,
    pending: Promise.resolve(),
    diagnostic: (text) => say(depth, `# ${text}`),
    skip: (why = true) => { item.skip = why; },
    todo: (why = true) => { item.todo = why; },
    test(...args) {
      const { name, options, fn } = readArguments(args);
      const sub = { kind: "test", name, fn, ...options, settle() {} };
      own.items.push(sub);
      const number = own.items.length;
      const run = context.pending.then(async () => {
        for (const hook of own.hooks.beforeEach) await call(hook, context);
        noteSubtest(await runItem(sub, own, depth + 1, number));
        for (const hook of own.hooks.afterEach) await call(hook, context);
      });
      context.pending = run;
      return run;
    },
  };
  for (const which of HOOKS) context[which] = (fn) => own.hooks[which].push(fn);
  return context;
}

function limited(work, ms) {
  if (!Number.isFinite(ms)) return work;
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(failure(`test timed out after ${ms}ms`)), ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

function escaped(text) {
  return `${text}`.replace(/[\\#]/g, "\\$&").replace(/\n/g, "\\n");
}

function report(depth, number, item, error, ms) {
  const skipped = item.skip !== undefined && item.skip !== false;
  const why = (value) => (typeof value === "string" ? ` ${value}` : "");
  let note = "";
  if (skipped) note = ` # SKIP${why(item.skip)}`;
  else if (item.todo) note = ` # TODO${why(item.todo)}`;
  count(item, error, skipped);
  say(depth, `${error === undefined ? "ok" : "not ok"} ${number} - ${escaped(item.name)}${note}`);
  say(depth, `  ---\n  duration_ms: ${ms.toFixed(6)}`);
  say(depth, `  type: '${item.kind}'`);
  if (error !== undefined) {
    const text = `${error?.message ?? error}`;
    say(depth, `  failureType: 'testCodeFailure'\n  error: ${JSON.stringify(text)}`);
    if (error?.code) say(depth, `  code: '${error.code}'`);
    if (error?.stack) say(depth, `  stack: |-\n${error.stack.replace(/^/gm, "    ")}`);
  }
  say(depth, "  ...");
}

function count(item, error, skipped) {
  if (item.kind === "suite") {
    counts.suites++;
    if (error !== undefined && !item.todo) process.exitCode = 1;
    return;
  }
  counts.tests++;
  if (skipped) counts.skipped++;
  else if (item.todo) counts.todo++;
  else if (error === undefined) counts.pass++;
  else counts.fail++;
}

function declarer(kind) {
  const each = (...args) => declare(kind, args);
  each.skip = (...args) => declare(kind, args, { skip: true });
  each.todo = (...args) => declare(kind, args, { todo: true });
  each.only = each;
  return each;
}

function spied(real = () => undefined, instead = real) {
  const calls = [];
  const spy = function (...args) {
    const entry = { arguments: args, this: this, result: undefined, error: undefined };
    calls.push(entry);
    try {
      entry.result = Reflect.apply(instead, this, args);
      return entry.result;
    } catch (error) {
      entry.error = error;
      throw error;
    }
  };
  spy.mock = { calls, callCount: () => calls.length, resetCalls: () => { calls.length = 0; } };
  return spy;
}

const test = declarer("test");
module.exports = test;
module.exports.test = test;
module.exports.it = declarer("test");
module.exports.describe = declarer("suite");
module.exports.suite = declarer("suite");
module.exports.before = (fn) => { current.hooks.before.push(fn); };
module.exports.after = (fn) => { current.hooks.after.push(fn); };
module.exports.beforeEach = (fn) => { current.hooks.beforeEach.push(fn); };
module.exports.afterEach = (fn) => { current.hooks.afterEach.push(fn); };
module.exports.mock = {
  fn: spied,
  method(owner, name, instead) {
    const real = owner[name];
    const spy = spied(real, instead ?? real);
    spy.mock.restore = () => { owner[name] = real; };
    owner[name] = spy;
    return spy;
  },
  reset() {},
};
