"""What JavaScript and TypeScript programs may rely on."""

import json

import pytest

from tests.dialects.wasmrun.rig import Session

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "deno")]
MODULES = (
    "path fs fs/promises os events util assert stream buffer crypto url querystring string_decoder "
    "timers/promises process tty"
).split()


async def _ran(session: Session, entry: str, files: dict[str, str]) -> str:
    found = await session.exec(files=files, entry=entry)
    assert found["exit_code"] == 0, found
    return str(found["stdout"])


@pytest.mark.parity("js.commonjs")
async def test_commonjs(session: Session) -> None:
    files = {
        "main.js": "console.log(require('./lib').a, require('./data').b, require('pkg').c,"
        " require('pkg/sub').d, require('old').e, typeof module, require.main === module)",
        "lib/index.js": "exports.a = 1",
        "data.json": '{"b": 2}',
        "node_modules/pkg/package.json": '{"exports": {".": "./m.js", "./sub": "./s.js"}}',
        "node_modules/pkg/m.js": "exports.c = 3",
        "node_modules/pkg/s.js": "exports.d = 4",
        "node_modules/old/package.json": '{"main": "lib/o"}',
        "node_modules/old/lib/o.js": "exports.e = 5",
    }
    assert await _ran(session, "main.js", files) == "1 2 3 4 5 object true\n"


@pytest.mark.parity("js.esm")
async def test_es_modules(session: Session) -> None:
    files = {
        "main.js": "import { a } from './a'; import b from './b.mjs'; import c from 'only';"
        "import fs, { readFileSync } from 'fs'; const d = require('./d');"
        "console.log(a, b, c, d, typeof fs.readFileSync, typeof readFileSync, await 6)",
        "a.js": "export const a = 1",
        "b.mjs": "export default 2",
        "d.cjs": "module.exports = 4; exports.other = require('only').default",
        "node_modules/only/package.json": '{"type": "module", "exports": {"import": "./i.js"}}',
        "node_modules/only/i.js": "export default 3",
    }
    assert await _ran(session, "main.js", files) == "1 2 3 4 function function 6\n"


@pytest.mark.parity("js.typescript")
async def test_typescript(session: Session) -> None:
    source = """
        enum Level { Low = 1, High }
        interface Shape { size: number }
        namespace Inner { export const n = 5 }
        class Box<T extends Shape> { constructor(private readonly shape: T) {} get size() { return this.shape.size } }
        const React = { createElement: (...all: unknown[]) => JSON.stringify(all) };
        const box = new Box({ size: 3 } satisfies Shape);
        console.log(Level.High, Level[1], box.size, Inner.n, <a href="x">{box.size}</a>);
    """
    found = await session.printed(source, language="tsx")
    assert found == '2 Low 3 5 ["a",{"href":"x"},3]\n'


@pytest.mark.parity("js.tsconfig")
async def test_tsconfig(session: Session) -> None:
    config = """{
        // comments, and commas at the end
        "compilerOptions": {
            "target": "es2020", "experimentalDecorators": true, "jsx": "react-jsx",
            "jsxImportSource": "mine", "baseUrl": ".", "paths": {"@lib/*": ["src/lib/*"], "one": ["src/one"]},
        },
    }"""
    files = {
        "tsconfig.json": config,
        "main.tsx": "import { k } from '@lib/k'; import one from 'one'; const r = require('@lib/k');"
        "function dec(target: any, key: string) { console.log('dec', key) }"
        "class A { @dec field = 1 }; console.log(k, one, r.k, <b x='1'/>)",
        "src/lib/k.ts": "export const k: number = 7",
        "src/one.ts": "export default 'one'",
        "node_modules/mine/package.json": '{"exports": {"./jsx-runtime": "./r.js"}}',
        "node_modules/mine/r.js": "exports.jsx = (tag, props) => tag + JSON.stringify(props)",
    }
    assert await _ran(session, "main.tsx", files) == 'dec field\n7 one 7 b{"x":"1"}\n'
    assert (
        await session.printed("import { k } from '@lib/k'; console.log(k)", language="ts") == "7\n"
    )


@pytest.mark.parity("js.lines")
async def test_errors_name_lines_of_typescript(session: Session) -> None:
    source = "interface A {\n  a: string\n}\nfunction boom(a?: A): never {\n  throw new Error('no ' + a)\n}\nboom()"
    found = await session.exec(source=source, language="ts")
    assert found["exit_code"] == 1
    assert "Error: no undefined" in found["stderr"]
    assert "_run_.ts:5:9" in found["stderr"]
    assert "_run_.ts:7:1" in found["stderr"]


@pytest.mark.parity("js.syntax")
async def test_broken_typescript(session: Session) -> None:
    found = await session.exec(source="let a = 1;\nconst x: number = ;", language="ts")
    assert found["exit_code"] == -1
    text = "TypeScript transpilation failed: _run_.ts:2:19: Expression expected"
    assert found["error"] == f"Bad request: {text}"
    files = {"main.ts": "import './lib/bad'", "lib/bad.ts": "export const a: = 1"}
    imported = await session.exec(files=files, entry="main.ts")
    assert "TypeScript transpilation failed: lib/bad.ts:1:17: " in imported["error"]


@pytest.mark.parity("js.builtins")
async def test_builtins(session: Session) -> None:
    names = json.dumps(MODULES)
    required = f"for (const m of {names}) {{ require(m); require('node:' + m) }} console.log('ok')"
    assert await session.printed(required) == "ok\n"
    imported = "".join(f"import '{m}'; import 'node:{m}';" for m in MODULES)
    assert await session.printed(f"{imported} console.log('ok')", language="ts") == "ok\n"


@pytest.mark.parity("js.unsupported")
async def test_what_refuses(session: Session) -> None:
    source = """
        const why = (work) => { try { work(); return 'it did' } catch (error) { return error.code } };
        console.log(why(() => require('zlib').gzipSync('x')), why(() => require('node:child_process').execSync('ls')),
                    why(() => new (require('worker_threads').Worker)('x')));
    """
    assert await session.printed(source) == " ".join(["ERR_NOT_SUPPORTED"] * 3) + "\n"
    module = """
        import { gzipSync } from 'zlib'; import cp, { spawn } from 'node:child_process';
        const why = (work: () => void) => { try { work(); return '' } catch (error) { return (error as any).code } };
        console.log(why(() => gzipSync('x')), why(() => spawn('ls')), why(() => cp.fork('x')));
    """
    assert (
        await session.printed(module, language="ts") == " ".join(["ERR_NOT_SUPPORTED"] * 3) + "\n"
    )


@pytest.mark.parity("js.test")
async def test_tap(session: Session) -> None:
    source = """
        const { test, it, describe, suite, before, beforeEach, afterEach, after } = require('node:test');
        const assert = require('assert');
        const order = [];
        test('passes', () => {});
        test('waits', async () => { await new Promise((done) => setTimeout(done, 5)) });
        test('calls back', (t, done) => setTimeout(done, 5));
        test.skip('skipped', () => { throw new Error() });
        test.todo('to do');
        describe('a suite', () => {
            before(() => order.push('before')); beforeEach(() => order.push('each'));
            it('one', () => {}); it('two', (t) => t.test('inner', () => {}));
            after(() => order.push('after'));
        });
        test('order', () => assert.deepEqual(order, ['before', 'each', 'each', 'after']));
    """
    found = await session.exec(source=source)
    lines = found["stdout"].splitlines()
    assert lines[0] == "TAP version 13"
    for wanted in ("ok 1 - passes", "ok 4 - skipped # SKIP", "ok 5 - to do # TODO", "    ok 1 - one",
                   "ok 6 - a suite", "ok 7 - order", "1..7", "# fail 0"):  # fmt: skip
        assert wanted in lines, wanted
    assert found["exit_code"] == 0
    bad = await session.exec(
        source="import test from 'node:test'; test('x', () => { throw new Error('why') })"
    )
    assert bad["exit_code"] == 1
    assert "not ok 1 - x" in bad["stdout"]
    assert "why" in bad["stdout"]
    stuck = await session.exec(source="require('node:test')('x', () => new Promise(() => {}))")
    assert stuck["exit_code"] == 1
    assert "not ok 1 - x" in stuck["stdout"]


@pytest.mark.parity("js.globals")
async def test_globals(session: Session) -> None:
    source = """
        const bytes = crypto.getRandomValues(new Uint8Array(4));
        setImmediate(() => {}); queueMicrotask(() => {}); clearTimeout(setTimeout(() => {}, 9));
        console.log(Buffer.from('hi').toString('base64'), new TextDecoder().decode(new TextEncoder().encode('x')),
            new URL('a?b=c', 'http://d').searchParams.get('b'), bytes.length, crypto.randomUUID().length,
            structuredClone({ a: [1] }).a[0],
            require('crypto').createHmac('sha256', 'k').update('d').digest('hex').length);
    """
    assert await session.printed(source) == "aGk= x c 4 36 1 64\n"


@pytest.mark.parity("js.fetch")
async def test_fetch_rejects(session: Session) -> None:
    source = "fetch('http://127.0.0.1').catch((e) => console.log(e.code, e.message))"
    assert await session.printed(source) == (
        "ERR_NETWORK_UNSUPPORTED fetch: network access is not supported\n"
    )
    connect = (
        "require('net').connect(80, '203.0.113.1').on('error', (e) => console.log('no', e.code))"
    )
    assert (await session.printed(connect)).startswith("no E")


@pytest.mark.parity("js.stdin")
async def test_stdin(session: Session) -> None:
    forms = (
        "process.stdout.write(require('fs').readFileSync(0, 'utf8') + '.')",
        "process.stdout.write(require('fs').readFileSync('/dev/stdin', 'utf8') + '.')",
        "let s = ''; process.stdin.on('data', (d) => { s += d }).on('end', () => process.stdout.write(s + '.'))",
    )
    for source in forms:
        assert await session.printed(source, stdin="fed") == "fed."
        assert await session.printed(source) == "."


@pytest.mark.parity("js.root")
async def test_the_root_is_the_session(session: Session) -> None:
    await session.write("/data/in.txt", "in")
    source = """
        import fs, { readFileSync, existsSync } from 'node:fs'; import { writeFile } from 'fs/promises';
        await writeFile('/out.txt', readFileSync('/data/in.txt', 'utf8') + 'out');
        fs.mkdirSync('/made/deep', { recursive: true }); fs.renameSync('/out.txt', '/made/out.txt');
        console.log(existsSync('/made/out.txt'), fs.readdirSync('/').sort().join(), require('/made/m.js'));
    """
    await session.write("/made/m.js", "module.exports = 'm'")
    assert await session.printed(source, language="ts") == "true _run_.ts,data,made m\n"
    assert (await session.read("/made/out.txt")).json()["content"] == "inout"


@pytest.mark.parity("js.root")
@pytest.mark.parametrize(
    "way",
    [
        "const fs = require('fs');",
        "const fs = require('node:fs');",
        "const { promises } = require('fs'); const fs = { readFileSync: promises.readFile };",
        "const fs = { readFileSync: require('fs/promises').readFile };",
        "const fs = process.getBuiltinModule('fs');",
        "const fs = (await import('node:fs')).default;",
        "const fs = await import('fs');",
        "import * as fs from 'node:fs';",
        "import { createRequire } from 'node:module'; const fs = createRequire('/x')('fs');",
        "const fs = require('./node_modules/pack');",
    ],
)
async def test_however_it_comes_by_fs(session: Session, way: str) -> None:
    await session.write("note", "mine")
    await session.write("node_modules/pack/index.js", "module.exports = require('fs')")
    source = f"{way}\nPromise.resolve(fs.readFileSync('/note', 'utf8')).then(console.log)"
    assert await session.printed(source) == "mine\n"
