"""Commands and programs."""

import pytest

from tests.dialects.run_dat_sheesh.rig import Spoken

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "deno", "node")]


@pytest.mark.parity("exec")
async def test_a_command(spoken: Spoken, vm: str) -> None:
    found = await spoken.run(vm, "echo out; echo err >&2; exit 3")
    assert found == {"exitCode": 3, "stdout": "out\n", "stderr": "err\n"}
    assert await spoken.printed(vm, "id -u; id -g; pwd") == "1000\n1000\n/workspace\n"
    assert (await spoken.run(vm, "kill -9 $$"))["exitCode"] == 137
    assert await spoken.post(f"/v1/vms/{vm}/exec", {"cmd": "a\0b"}, 400)


@pytest.mark.parity("exec.cwd")
async def test_a_directory_that_is_none(spoken: Spoken, vm: str) -> None:
    await spoken.run(vm, "mkdir -p 'a b'")
    for cwd, wanted in (
        ("/workspace/a b", "/workspace/a b"), ("a b", "/workspace/a b"), ("/tmp", "/tmp"),
        ("/nowhere", "/workspace"), ("$(touch x)", "/workspace"), ("", "/workspace"),
    ):  # fmt: skip
        assert await spoken.printed(vm, "pwd", cwd=cwd) == f"{wanted}\n"
    assert await spoken.printed(vm, "ls x 2>/dev/null || echo none") == "none\n"


@pytest.mark.parity("exec.env")
async def test_the_environment(spoken: Spoken, vm: str) -> None:
    text = await spoken.printed(vm, "env", env={"MINE": "a b"})
    found = dict(line.split("=", 1) for line in text.splitlines())
    wanted = {
        "HOME": "/home/user", "USER": "user", "TMPDIR": "/tmp", "NODE_OPTIONS": "--jitless",
        "MINE": "a b",
    }  # fmt: skip
    assert wanted.items() <= found.items()
    assert {"PATH", "SHELL", "LANG"} <= set(found)
    assert await spoken.post(f"/v1/vms/{vm}/exec", {"cmd": "env", "env": {"1": "x"}}, 400)


@pytest.mark.parity("exec.timeout")
async def test_a_command_that_takes_too_long(spoken: Spoken, vm: str) -> None:
    found = await spoken.run(vm, "echo begun; sleep 30", timeoutMs=400)
    assert found == {"exitCode": -1, "stdout": "begun\n", "stderr": "\nTimeout exceeded"}
    body = {"cmd": "true", "timeoutMs": 120_001}
    text = await spoken.post(f"/v1/vms/{vm}/exec", body, 400)
    assert text == "timeoutMs exceeds maxExecTimeoutMs=120000"


@pytest.mark.parity("exec.caps")
async def test_a_loud_command_goes_on(spoken: Spoken, vm: str) -> None:
    loud = "head -c 3000000 /dev/zero | tr '\\0' a; echo said >&2; exit 4"
    found = await spoken.run(vm, loud)
    assert (found["exitCode"], len(found["stdout"])) == (4, 1_000_000)
    assert found["stderr"] == "said\n"


@pytest.mark.parity("vm.inside")
@pytest.mark.parametrize(
    "tool", ["git", "sh", "bash", "awk", "find", "grep", "node", "npm", "deno"]
)
async def test_what_is_there(spoken: Spoken, vm: str, tool: str) -> None:
    assert await spoken.printed(vm, f"command -v {tool}")


@pytest.mark.parity("vm.inside")
async def test_directories(spoken: Spoken, vm: str) -> None:
    other = await spoken.vm()
    assert await spoken.printed(vm, "touch /tmp/a /var/tmp/a /workspace/a && echo yes") == "yes\n"
    assert await spoken.printed(other, "ls /tmp /var/tmp | grep -c '^a$' || true") == "0\n"
    assert "nameserver" in await spoken.printed(other, "cat /etc/resolv.conf")
    await spoken.ask("DELETE", f"/v1/vms/{other}", status=204)


@pytest.mark.parity("vm.inside")
async def test_npm_installs_what_is_there(spoken: Spoken, vm: str) -> None:
    await spoken.run(
        vm,
        'mkdir -p lib app && cd lib && echo \'{"name":"lib","version":"1.0.0"}\' > package.json'
        " && echo 'module.exports = 42' > index.js",
    )
    install = "npm install --offline --no-audit --no-fund file:../lib 2>&1 | tail -n 3"
    assert "added 1 package" in await spoken.printed(vm, install, cwd="app", timeoutMs=60_000)
    found = await spoken.js(vm, "result.set(require('/workspace/app/node_modules/lib'))")
    assert found["result"] == 42


@pytest.mark.parity("run-ts", "run.args")
async def test_typescript(spoken: Spoken, vm: str) -> None:
    code = "const n: number = 2; console.log(n + 2, Deno.args, Deno.cwd(), import.meta.main)"
    found = await spoken.ts(vm, code, args=["a b", "c"])
    assert found == {
        "exitCode": 0, "stdout": '4 [ "a b", "c" ] /workspace true\n', "stderr": ""
    }  # fmt: skip


@pytest.mark.parity("run-ts.result")
@pytest.mark.parametrize(
    "value", [{"a": [1, None, "x"]}, [1, 2], "text", 42, 1.5, True, False, None, {}, [], "é\u2028"]
)
@pytest.mark.parametrize("call", ["ts", "js"])
async def test_any_json_comes_back(spoken: Spoken, vm: str, call: str, value: object) -> None:
    import json

    code = f"result.set(JSON.parse({json.dumps(json.dumps(value))}))"
    found = await (spoken.ts if call == "ts" else spoken.js)(vm, code)
    assert found == {"exitCode": 0, "stdout": "", "stderr": "", "result": value}


@pytest.mark.parity("run-ts.result")
@pytest.mark.parametrize("call", ["ts", "js"])
async def test_odd_json_is_no_failure_of_ours(spoken: Spoken, vm: str, call: str) -> None:
    run = spoken.ts if call == "ts" else spoken.js
    found = await run(vm, r"result.set(['\ud800', {'\udfff': 1}])")
    assert found["result"] == ["\ud800", {"\udfff": 1}]
    for depth, fine in ((150, True), (400, False)):
        code = f"let a = 1; for (let i = 0; i < {depth}; i++) a = [a]; result.set(a)"
        found = await run(vm, code)
        assert ("result" in found) is fine
    assert found["error"]["name"] == "RangeError"


@pytest.mark.parity("run-ts.error")
@pytest.mark.parametrize("call", ["ts", "js"])
async def test_errors(spoken: Spoken, vm: str, call: str) -> None:
    run = spoken.ts if call == "ts" else spoken.js
    found = await run(vm, 'result.error("bad"); console.log("after")')
    assert found["error"] == {"name": "Error", "message": "bad"}
    assert (found["exitCode"], found["stdout"]) == (1, "after\n")
    found = await run(vm, "result.error({code: 7, deep: [1]}); result.set(3)")
    assert (found["error"], found["result"]) == ({"code": 7, "deep": [1]}, 3)
    for thrown in (
        'result.error(new TypeError("boom"))', 'throw new TypeError("boom")',
        'await Promise.reject(new TypeError("boom"))',
        'setTimeout(() => { throw new TypeError("boom") }, 1)',
    ):  # fmt: skip
        found = await run(vm, thrown)
        assert (found["exitCode"], found["stderr"]) == (1, ""), thrown
        assert (found["error"]["name"], found["error"]["message"]) == ("TypeError", "boom")
        assert "boom" in found["error"]["stack"]
        assert "result" not in found


@pytest.mark.parity("run-ts.error")
@pytest.mark.parametrize("call", ["ts", "js"])
@pytest.mark.parametrize("code", ["result.set(1n)", "const a = []; a.push(a); result.set(a)"])
async def test_what_is_no_json(spoken: Spoken, vm: str, call: str, code: str) -> None:
    found = await (spoken.ts if call == "ts" else spoken.js)(vm, code)
    assert (found["exitCode"], found["error"]["name"]) == (1, "TypeError")


@pytest.mark.parity("run-ts.error")
async def test_code_that_is_none(spoken: Spoken, vm: str) -> None:
    for run in (spoken.ts, spoken.js):
        found = await run(vm, "let = = ;")
        assert (found["exitCode"], found["error"]["name"]) == (1, "SyntaxError")
    assert await spoken.printed(vm, "ls -A /workspace | grep -c '^.atoll' || true") == "0\n"


@pytest.mark.parity("run-ts.exit")
async def test_an_exit_of_its_own(spoken: Spoken, vm: str) -> None:
    found = await spoken.ts(vm, "result.set(1); Deno.exit(7)")
    assert found == {"exitCode": 7, "stdout": "", "stderr": ""}
    found = await spoken.js(vm, "result.set(1); process.exit(7)")
    assert found == {"exitCode": 7, "stdout": "", "stderr": ""}


@pytest.mark.parity("run-ts.permissions")
async def test_permissions(spoken: Spoken, vm: str) -> None:
    tries = """
    const say = console.log;
    const tell = (name, act) => { try { act(); say(name, "yes") } catch (e) { say(name, e.name) } };
    tell("workspace", () => Deno.writeTextFileSync("/workspace/x", "x"));
    tell("tmp", () => Deno.writeTextFileSync("/tmp/x", "x"));
    tell("hosts", () => Deno.readTextFileSync("/etc/hosts"));
    tell("home", () => Deno.readTextFileSync("/home/user/x"));
    tell("passwd", () => Deno.readTextFileSync("/etc/passwd"));
    tell("etc", () => Deno.writeTextFileSync("/etc/hosts", "x"));
    tell("run", () => new Deno.Command("true").outputSync());
    tell("env", () => Deno.env.get("HOME"));
    tell("net", () => Deno.listen({ port: 0 }));
    """
    found = await spoken.ts(vm, tries)
    said = dict(line.split(" ") for line in found["stdout"].splitlines())
    denied = "NotCapable"
    assert said == {
        "workspace": "yes", "tmp": "yes", "hosts": "yes", "home": denied, "passwd": denied,
        "etc": denied, "run": denied, "env": "yes", "net": denied,
    }  # fmt: skip
    found = await spoken.ts(vm, tries, env=["MINE=1"])
    assert f"env {denied}" in found["stdout"]
    found = await spoken.ts(vm, "result.set(Deno.env.get('MINE'))", env=["MINE=a=b"])
    assert found["result"] == "a=b"


@pytest.mark.parity("run.limits")
@pytest.mark.parametrize("call", ["run-ts", "run-js"])
async def test_what_is_refused(spoken: Spoken, vm: str, call: str) -> None:
    path = f"/v1/vms/{vm}/{call}"
    assert "status=400" in await spoken.post(path, {}, 400)
    for place in ("/etc/passwd", "../x", "/workspace/../etc/passwd"):
        assert f"POST /{call}" in await spoken.post(path, {"path": place}, 400)
    assert await spoken.post(path, {"code": "1", "env": ["1A=b"]}, 400)
    body = {"code": "1", "timeoutMs": 120_001}
    assert "maxRunTsTimeoutMs" in await spoken.post(path, body, 400)
    found = await spoken.post(path, {"code": "for (;;);", "timeoutMs": 400})
    assert (found["exitCode"], found["stderr"]) == (-1, "\nTimeout exceeded")


@pytest.mark.parity("run.path")
async def test_a_program_that_is_there(spoken: Spoken, vm: str) -> None:
    await spoken.run(
        vm,
        "mkdir -p p && cd p && echo 'export const x: number = 5' > lib.ts"
        " && echo 'import { x } from \"./lib.ts\"; result.set([x, Deno.cwd()])' > main.ts"
        " && echo 'result.set([require(\"./lib.cjs\"), process.cwd()])' > main.js"
        " && echo 'module.exports = 6' > lib.cjs",
    )
    for path in ("/workspace/p/main.ts", "p/main.ts"):
        found = await spoken.post(f"/v1/vms/{vm}/run-ts", {"path": path})
        assert found["result"] == [5, "/workspace/p"]
    found = await spoken.post(f"/v1/vms/{vm}/run-js", {"path": "p/main.js"})
    assert found["result"] == [6, "/workspace/p"]
    found = await spoken.post(f"/v1/vms/{vm}/run-ts", {"path": "p/none.ts"})
    assert (found["exitCode"], bool(found["error"]["message"])) == (1, True)


@pytest.mark.parity("run-js")
async def test_javascript(spoken: Spoken, vm: str) -> None:
    found = await spoken.js(vm, "console.log(1 + 1, process.argv.slice(2))", args=["z"])
    assert found == {"exitCode": 0, "stdout": "2 [ 'z' ]\n", "stderr": ""}
    found = await spoken.js(
        vm, 'import fs from "node:fs"; result.set([fs.existsSync("/workspace"), process.env.A])',
        env=["A=b"],
    )  # fmt: skip
    assert found["result"] == [True, "b"]
    assert "\x1b[31m" in (await spoken.js(vm, r'console.log("\x1b[31mred\x1b[0m")'))["stdout"]
    assert (await spoken.ts(vm, r'console.log("\x1b[31mred\x1b[0m")'))["stdout"] == "red\n"


@pytest.mark.parity("run.warm")
async def test_one_that_waits_serves_as_one_that_is_started(spoken: Spoken) -> None:
    own = await spoken.vm()
    for number in range(12):
        found = await spoken.ts(own, f"result.set([Deno.args[0], {number}])", args=[f"a{number}"])
        assert found["result"] == [f"a{number}", number]
    assert await spoken.printed(own, "ls -A") == ".deno\n"
    await spoken.ask("DELETE", f"/v1/vms/{own}", status=204)
