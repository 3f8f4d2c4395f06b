"""npm packages: from a registry of our own, with what a hostile one could send."""

import io
import tarfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.dialects.wasmrun.errors import BadRequest
from atoll.dialects.wasmrun.npm.names import asked, check_path
from tests.dialects.wasmrun import registry as npm
from tests.dialects.wasmrun.registry import Registry
from tests.dialects.wasmrun.rig import Session, Spoken, speaking_wasmrun

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "deno")]
PRINT = "console.log(require('a'))"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with npm.serving() as found:
        for version in ("1.0.0", "1.2.3", "1.9.0", "2.0.0"):
            found.add("a", version, f"module.exports = 'a{version}'")
        found.documents["a"]["dist-tags"] |= {"next": "1.9.0", "latest": "1.2.3"}
        yield found


@pytest.fixture
async def spoken(registry: Registry, tmp_path: Path) -> AsyncGenerator[Spoken, None]:
    async with speaking_wasmrun(tmp_path, npm_registry=registry.url) as found:
        yield found


@pytest.fixture
async def session(spoken: Spoken) -> Session:
    return await spoken.session()


@pytest.mark.parity("npm.ranges", "options.cache")
async def test_ranges_and_tags(session: Session) -> None:
    for wanted, version in {
        "^1.0.0": "1.2.3",
        "~1.0": "1.0.0",
        "1.x": "1.2.3",
        ">=1.3 <2 || 7": "1.9.0",
        "1.5.0 - 2.0.0": "2.0.0",
        "": "1.2.3",
        "*": "1.2.3",
        "latest": "1.2.3",
        "next": "1.9.0",
        "=2.0.0": "2.0.0",
        "npm:a@2": "2.0.0",
    }.items():
        found = await session.exec(source=PRINT, dependencies={"a": wanted})
        assert found["stdout"] == f"a{version}\n", (wanted, found)
        assert found["lockfile"]["node_modules/a"]["version"] == version


@pytest.mark.parity("npm.invalid")
async def test_wrong_names_and_ranges(registry: Registry, session: Session) -> None:
    for name in ("No", "../x", "a/b", "@a", "", ".x", "node_modules", "a" * 300, "a b"):
        found = await session.exec(400, source=PRINT, dependencies={name: "1"})
        assert found["error"].startswith("Bad request: Invalid package name"), name
    for wanted in ("git+ssh://x/y", "file:../x", "http://127.0.0.1/x.tgz", "1.2.3.4.5", "x" * 999):
        found = await session.exec(400, source=PRINT, dependencies={"a": wanted})
        assert found["error"].startswith("Bad request: Invalid version range for 'a'"), wanted
    assert registry.asked == []
    assert (await session.exec(400, source="1", dependencies={"none": "1"}))["error"] == (
        "Bad request: Package not found: 'none'"
    )
    assert (await session.exec(400, source="1", dependencies={"a": "9"}))["error"] == (
        "Bad request: No version of 'a' satisfies '9'"
    )


@pytest.mark.parity("npm.nested")
async def test_they_are_nested(registry: Registry, session: Session) -> None:
    registry.add("@s/b", "1.0.0", "exports.a = require('a')", dependencies={"a": "2"})
    registry.add("c", "1.0.0", "exports.a = require('a'); exports.d = require('d')",
                 dependencies={"a": "1.0.0", "d": "1"})  # fmt: skip
    registry.add("d", "1.0.0", "exports.own = 'd'", dependencies={"c": "1", "a": "^1.0.0"})
    source = "console.log(require('a'), require('@s/b').a, require('c').a, require('c').d.own)"
    found = await session.exec(source=source, dependencies={"a": "1.9.0", "@s/b": "1", "c": "1"})
    assert found["stdout"] == "a1.9.0 a2.0.0 a1.0.0 d\n"
    assert sorted(found["lockfile"]) == [
        "node_modules/@s/b",
        "node_modules/@s/b/node_modules/a",
        "node_modules/a",
        "node_modules/c",
        "node_modules/c/node_modules/a",
        "node_modules/c/node_modules/d",
    ]


HAS = "const has = (n) => { try { return require(n) } catch (e) { return e.code } };"


@pytest.mark.parity("npm.optional")
async def test_what_is_optional_may_be_missing(registry: Registry, session: Session) -> None:
    registry.add("good", "1.0.0", "module.exports = 'good'")
    registry.add("built", "1.0.0", files={"x.node": b"\x7fELF"})
    registry.add("needs-built", "1.0.0", "module.exports = 'never'", dependencies={"nil": "1"})
    registry.add("darwin", "1.0.0", "module.exports = 'no'", os=["darwin"])
    registry.add("machine", "1.0.0", "module.exports = 'no'", os=["linux"], cpu=["x64", "arm64"])
    wanted = dict.fromkeys(("good", "built", "needs-built", "darwin", "machine", "nil"), "1")
    # Older npm writes optional ones into both tables.
    registry.add("top", "1.0.0", f"{HAS} module.exports = {list(wanted)}.map(has)",
                 dependencies={"good": "1", "nil": "1"},
                 optionalDependencies={**wanted, "odd": "git+ssh://x/y"})  # fmt: skip
    found = await session.exec(
        source="console.log(require('top').join())", dependencies={"top": "1"}
    )
    missing = ",MODULE_NOT_FOUND" * 5
    assert found["stdout"] == f"good{missing}\n", found
    assert sorted(found["lockfile"]) == ["node_modules/top", "node_modules/top/node_modules/good"]
    assert found["lockfile"]["node_modules/top/node_modules/good"]["optional"] is True
    again = await session.exec(source="1", lockfile=found["lockfile"])
    assert again["lockfile"] == found["lockfile"]
    for name, text in (("darwin", "is for other machines"), ("needs-built", "not found: 'nil'")):
        assert text in (await session.exec(400, source="1", dependencies={name: "1"}))["error"]


@pytest.mark.parity("npm.optional")
async def test_an_optional_archive_that_was_changed_is_no_less_refused(
    registry: Registry, session: Session
) -> None:
    registry.add("top", "1.0.0", optionalDependencies={"a": "1.9.0"})
    registry.archives["/a/-/a-1.9.0.tgz"] += b"\0"
    found = await session.exec(400, source="1", dependencies={"top": "1"})
    assert found["error"] == "Bad request: Integrity check failed for 'a' 1.9.0"
    del registry.archives["/a/-/a-1.9.0.tgz"]
    found = await session.exec(source="1", dependencies={"top": "1"})
    assert sorted(found["lockfile"]) == ["node_modules/top"]


@pytest.mark.parity("npm.peers")
async def test_peers_are_put_beside(registry: Registry, session: Session) -> None:
    see = f"{HAS} exports.a = has('a'); exports.d = has('d')"
    registry.add("plugin", "1.0.0", see, peerDependencies={"a": "2", "d": "1"},
                 peerDependenciesMeta={"d": {"optional": True}})  # fmt: skip
    registry.add("d", "1.0.0", "module.exports = 'd'")
    source = "const p = require('plugin'); console.log(p.a, p.d, require('a'))"
    alone = await session.exec(source=source, dependencies={"plugin": "1"})
    assert alone["stdout"] == "a2.0.0 MODULE_NOT_FOUND a2.0.0\n"
    assert sorted(alone["lockfile"]) == ["node_modules/a", "node_modules/plugin"]
    # What is there already is the one, as with npm 2.
    beside = await session.exec(source=source, dependencies={"plugin": "1", "a": "1", "d": "1"})
    assert beside["stdout"] == "a1.2.3 d a1.2.3\n"
    registry.add("host", "1.0.0", "exports.p = require('plugin')", dependencies={"plugin": "1"})
    above = await session.exec(source="1", dependencies={"host": "1", "a": "1"})
    assert sorted(above["lockfile"]) == [
        "node_modules/a", "node_modules/host", "node_modules/host/node_modules/plugin",
    ]  # fmt: skip


async def test_what_an_archive_brings_along_is_not_fetched(
    registry: Registry, session: Session
) -> None:
    registry.add("bundle", "1.0.0", "module.exports = require('inner')",
                 dependencies={"inner": "1"}, bundleDependencies=["inner"],
                 files={"node_modules/inner/index.js": "module.exports = 'brought'"})  # fmt: skip
    found = await session.exec(
        source="console.log(require('bundle'))", dependencies={"bundle": "1"}
    )
    assert found["stdout"] == "brought\n"


@pytest.mark.parity("npm.lockfile")
async def test_a_lockfile_is_replayed_offline(registry: Registry, spoken: Spoken) -> None:
    first = await (await spoken.session()).exec(source=PRINT, dependencies={"a": "^1"})
    lockfile = first["lockfile"]
    assert set(lockfile["node_modules/a"]) == {"version", "resolved", "integrity"}
    registry.add("a", "1.99.0", "module.exports = 'newer'")
    registry.asked.clear()
    other = await spoken.session()
    again = await other.exec(source=PRINT, dependencies={"a": "^1"}, lockfile=lockfile)
    assert (again["stdout"], again["lockfile"]) == ("a1.2.3\n", lockfile)
    alone = await (await spoken.session()).exec(source=PRINT, lockfile=lockfile)
    assert alone["stdout"] == "a1.2.3\n"
    assert registry.asked == []
    newer = await other.exec(source=PRINT, dependencies={"a": "2"}, lockfile=lockfile)
    assert newer["stdout"] == "a2.0.0\n"


async def test_lockfiles_that_lie(registry: Registry, spoken: Spoken) -> None:
    session = await spoken.session()
    good = (await session.exec(source=PRINT, dependencies={"a": "1"}))["lockfile"]["node_modules/a"]
    for path in ("a", "../a", "node_modules/../a", "node_modules/a/../../x", "node_modules/a/b",
                 "/node_modules/a", "node_modules/", "x/node_modules/a"):  # fmt: skip
        found = await session.exec(400, source="1", lockfile={path: good})
        assert "Invalid lockfile path" in found["error"], path
    for wrong in ("sha1-abc", "sha512-", "sha512-AAAA", "none"):
        lying = {"node_modules/a": {**good, "integrity": wrong}}
        assert (await session.exec(400, source="1", lockfile=lying))["code"] == 400
    # Another host is never asked: only the file's name counts.
    other = {**good, "resolved": "http://203.0.113.1/secret", "integrity": npm.integrity(b"x")}
    found = await session.exec(400, source="1", lockfile={"node_modules/a": other})
    assert "names another registry" in found["error"]
    elsewhere = {**other, "resolved": "http://203.0.113.1/a/-/a-1.2.3.tgz"}
    registry.asked.clear()
    found = await session.exec(400, source="1", lockfile={"node_modules/a": elsewhere})
    assert "Integrity check failed for 'a'" in found["error"]
    assert registry.asked == ["/a/-/a-1.2.3.tgz"]


@pytest.mark.parity("npm.integrity")
async def test_a_changed_archive_is_refused(registry: Registry, session: Session) -> None:
    registry.archives["/a/-/a-1.2.3.tgz"] += b"\0"
    found = await session.exec(400, source=PRINT, dependencies={"a": "1"})
    assert found["error"] == "Bad request: Integrity check failed for 'a' 1.2.3"
    assert (await session.read("node_modules/a/index.js")).status_code == 404
    assert (await session.exec(source=PRINT, dependencies={"a": "2"}))["stdout"] == "a2.0.0\n"


@pytest.mark.parity("npm.scripts")
async def test_no_script_is_run(registry: Registry, session: Session, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    scripts = dict.fromkeys(("preinstall", "install", "postinstall"), f"touch {ran}; node index.js")
    registry.add("hooked", "1.0.0", "module.exports = 'ok'", scripts=scripts)
    found = await session.exec(
        source="console.log(require('hooked'))", dependencies={"hooked": "1"}
    )
    assert found["stdout"] == "ok\n"
    assert not ran.exists()


@pytest.mark.parity("npm.native")
async def test_native_bindings_are_refused(registry: Registry, session: Session) -> None:
    registry.add("gyp", "1.0.0", files={"binding.gyp": "{}"})
    registry.add("built", "1.0.0", files={"build/Release/x.node": b"\x7fELF"})
    registry.add("fetched", "1.0.0", scripts={"install": "prebuild-install || node-gyp rebuild"})
    registry.add("needs", "1.0.0", dependencies={"gyp": "1"})
    for name, named in (
        ("gyp", "gyp"),
        ("built", "built"),
        ("fetched", "fetched"),
        ("needs", "gyp"),
    ):
        found = await session.exec(400, source="1", dependencies={name: "1"})
        text = f"Bad request: Package '{named}' has native bindings, which are not supported"
        assert found["error"] == text


@pytest.mark.parity("npm.quota")
async def test_they_count_against_the_disk(registry: Registry, spoken: Spoken) -> None:
    registry.add("big", "1.0.0", files={"data.txt": "x" * (3 * 1024 * 1024)})
    small = await spoken.session(max_disk_mb=2)
    found = await small.exec(400, source="console.log(1)", dependencies={"big": "1"})
    assert found["error"] == "Bad request: Disk usage limit exceeded: package 'big' does not fit"
    assert (await small.read("node_modules", list="true")).status_code == 404
    usual = await spoken.session()
    assert (await usual.exec(source="console.log(1)", dependencies={"big": "1"}))["exit_code"] == 0


@pytest.mark.parity("npm.package-json")
async def test_package_json(registry: Registry, session: Session) -> None:
    registry.add("dev", "1.0.0", "module.exports = 'dev'")
    manifest = '{"dependencies": {"a": "^1"}, "devDependencies": {"dev": "1"}}'
    source = (
        "const has = (n) => { try { return require(n) } catch { return 'none' } };"
        "console.log(has('a'), has('dev'))"
    )
    missing = await session.exec(400, source=source, install_package_json=True)
    assert "no package.json" in missing["error"]
    await session.write("package.json", manifest)
    plain = await session.exec(source=source, install_package_json=True)
    assert plain["stdout"] == "a1.2.3 none\n"
    both = await session.exec(
        source=source, install_package_json=True, install_dev_dependencies=True
    )
    assert both["stdout"] == "a1.2.3 dev\n"
    optional = '{"dependencies": {"a": "^1"}, "optionalDependencies": {"a": "2", "none": "1"}}'
    await session.write("package.json", optional)
    assert (await session.exec(source=source, install_package_json=True))["stdout"] == (
        "a2.0.0 dev\n"
    )
    await session.write("package.json", '{"dependencies": {"a": 1}}')
    assert (await session.exec(400, source=source, install_package_json=True))["code"] == 400


def _hostile(name: str, kind: bytes, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.size = kind, link, 0
        tar.addfile(entry)
        good = tarfile.TarInfo("package/index.js")
        good.size = 0
        tar.addfile(good)
    return out.getvalue()


async def test_hostile_archives(registry: Registry, session: Session) -> None:
    refused: dict[str, bytes] = {
        "up": _hostile("package/../../../tmp/x", tarfile.REGTYPE),
        "junk": b"this is no archive",
        "bomb": npm.archive({"zeros": b"\0" * (120 * 1024 * 1024)}),
    }
    for name, data in refused.items():
        registry.add(name, "1.0.0", data=data)
        found = await session.exec(400, source="1", dependencies={name: "1"})
        assert found["error"].startswith("Bad request: "), found
        assert (await session.read(f"node_modules/{name}", list="true")).status_code == 404
    ignored = {
        "link": _hostile("package/x", tarfile.SYMTYPE, "/etc/passwd"),
        "hard": _hostile("package/x", tarfile.LNKTYPE, "/etc/passwd"),
        "device": _hostile("package/x", tarfile.CHRTYPE),
    }
    for name, data in ignored.items():
        registry.add(name, "1.0.0", data=data)
        found = await session.exec(source="1", dependencies={name: "1"})
        assert found["exit_code"] == 0
        assert (await session.read(f"node_modules/{name}/x")).status_code == 404
        assert (await session.read(f"node_modules/{name}/index.js")).status_code == 200


async def test_hostile_documents(registry: Registry, session: Session) -> None:
    documents: dict[str, Any] = {
        "list": [],
        "empty": {},
        "odd": {"versions": {"1.0.0": 3}, "dist-tags": {"latest": "1.0.0"}},
        "weak": {"versions": {"1.0.0": {"dist": {"tarball": "x", "integrity": "sha1-x"}}}},
    }
    for name, document in documents.items():
        registry.documents[name] = document
        answer = await session.client.post(
            f"/sessions/{session.id}/exec", json={"source": "1", "dependencies": {name: "*"}}
        )
        assert answer.status_code in {400, 500}, answer.text
        assert set(answer.json()) == {"error", "code"}
    registry.add("loop", "1.0.0", dependencies={"loop": "2"})
    registry.add("loop", "2.0.0", dependencies={"loop": "1"})
    endless = await session.exec(400, source="1", dependencies={"loop": "1"})
    assert "deep" in endless["error"]


async def test_without_a_registry_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("atoll.dialects.wasmrun.npm.registry._CONFIGURED", ())
    async with speaking_wasmrun(tmp_path) as spoken:
        session = await spoken.session()
        found = await session.exec(400, source="1", dependencies={"a": "1"})
        assert found["error"].startswith("Bad request: npm packages cannot be fetched: ")
        assert "wasmrun.npm_registry=URL" in found["error"]
        assert (await session.read("_run_.js")).status_code == 404
        assert (await session.exec(source="console.log(1)", lockfile={}))["stdout"] == "1\n"


async def test_a_registry_that_is_not_there(tmp_path: Path) -> None:
    async with speaking_wasmrun(tmp_path, npm_registry="http://127.0.0.1:9") as spoken:
        session = await spoken.session()
        found = await session.exec(500, source="1", dependencies={"a": "1"})
        assert found["error"].startswith("Internal error: npm registry: it cannot be reached")


def test_names() -> None:
    assert asked("@a/b", "^1").package == "@a/b"
    assert asked("x", "npm:@a/b@^1").package == "@a/b"
    assert check_path("node_modules/@a/b/node_modules/c") == "node_modules/@a/b/node_modules/c"
    with pytest.raises(BadRequest):
        asked("x", "npm:../y@1")
