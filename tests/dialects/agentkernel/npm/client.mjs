// Every method of the npm package that the dialect supports; says "ok" when each did as it should.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [base, baseUrl, key] = process.argv.slice(2);
const found = createRequire(`${base}/`).resolve("agentkernel");
const { AgentKernel, NotFoundError, ValidationError, ServerError, AuthError } = await import(
  pathToFileURL(found)
);
const client = new AgentKernel({ baseUrl, apiKey: key || undefined });
const name = "npm-one";

assert.equal(await client.health(), "ok");
assert.equal((await client.run(["python3", "-c", "print(1+1)"])).output, "2\n");
assert.equal((await client.run(["echo", "x"], { fast: false, profile: "restrictive" })).output, "x\n");
const batch = await client.batchRun([{ command: ["echo", "a"] }, { command: ["false"] }]);
assert.deepEqual(batch.results.map((each) => each.output), ["a\n", null]);

const events = [];
for await (const each of client.runStream(["sh", "-c", "echo x; exit 3"])) events.push(each);
assert.equal(events[0].type, "started");
assert.equal(events.find((each) => each.type === "output").data.data, "x\n");
assert.equal(events.at(-1).type, "done");
assert.equal(events.at(-1).data.exit_code, 3);

const made = await client.createSandbox(name, { vcpus: 1, memory_mb: 256 });
assert.equal(made.status, "running");
assert.ok((await client.listSandboxes()).some((each) => each.name === name));
assert.equal((await client.getSandbox(name)).uuid, made.uuid);
assert.equal((await client.getSandboxByUuid(made.uuid)).name, name);
const opts = { env: ["A=b"], workdir: "/tmp" };
assert.equal((await client.execInSandbox(name, ["sh", "-c", "echo $A; pwd"], opts)).output, "b\n/tmp\n");
assert.equal(await client.writeFile(name, "tmp/a", "hello"), "Wrote 5 bytes to /tmp/a");
assert.equal((await client.readFile(name, "tmp/a")).content, "hello");
assert.equal(await client.deleteFile(name, "tmp/a"), "Deleted /tmp/a");
assert.deepEqual(await client.writeFiles(name, { "/workspace/c": "1" }), { written: 1 });
assert.equal((await client.getSandboxLogs(name))[0].event, "sandbox_created");

const command = await client.execDetached(name, ["sleep", "600"]);
assert.equal((await client.detachedStatus(name, command.id)).status, "running");
assert.equal((await client.detachedList(name)).length, 1);
assert.deepEqual(await client.detachedLogs(name, command.id), { stdout: "" });
assert.deepEqual(await client.detachedLogs(name, command.id, "stderr"), { stderr: "" });
assert.equal(await client.detachedKill(name, command.id), "Command killed");

assert.ok((await client.extendTtl(name, { by: "1h" })).expires_at);
const snapshot = await client.takeSnapshot({ sandbox: name, name: "npm-snap" });
assert.ok((await client.listSnapshots()).some((each) => each.name === "npm-snap"));
assert.equal((await client.getSnapshot("npm-snap")).created_at, snapshot.created_at);
const back = await client.restoreSnapshot("npm-snap");
assert.equal((await client.execInSandbox(back.name, ["cat", "c"])).output, "1");
await client.deleteSnapshot("npm-snap");
await client.removeSandbox(back.name);
await client.removeSandbox(name);

const session = await client.sandbox("npm-session");
await session.writeFiles({ "/workspace/a": "1" });
assert.equal((await session.run(["cat", "a"])).output, "1");
assert.equal((await session.info()).status, "running");
await session.remove();

await assert.rejects(client.getSandbox(name), NotFoundError);
await assert.rejects(client.createSandbox("-"), ValidationError);
await assert.rejects(client.run(["false"]), ServerError);
await assert.rejects(client.listOrchestrations(), /not supported by this server/);
await assert.rejects(new AgentKernel({ baseUrl, apiKey: "nope" }).listSandboxes(), AuthError);
console.log("ok");
