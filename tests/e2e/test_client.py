"""The SDK against a real server."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from atoll.client import (
    AsyncAtoll,
    Atoll,
    Code,
    Command,
    Conflict,
    Finished,
    InvalidRequest,
    NotFound,
    Output,
    PreconditionFailed,
    Problem,
    Result,
    Sandbox,
    Started,
)
from tests.e2e.server import Server

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.timeout(60),
    pytest.mark.needs("userns"),
]


@pytest.fixture
def atoll(server: Server) -> Iterator[Atoll]:
    with Atoll(server.url) as client:
        yield client


@pytest.fixture
def box(atoll: Atoll) -> Iterator[Sandbox]:
    with atoll.sandboxes.create() as sandbox:
        yield sandbox


@pytest.fixture
async def asynchronous(server: Server) -> AsyncIterator[AsyncAtoll]:
    async with AsyncAtoll(server.url) as client:
        yield client


@pytest.mark.parametrize("printed", ["print(n)", "print(n, flush=True)", "sys.stderr.write('x')"])
def test_what_is_printed_now_and_then_is_one_event_each(atoll: Atoll, printed: str) -> None:
    code = f"import sys, time\nfor n in range(5):\n    {printed}\n    time.sleep(0.1)"
    events = list(atoll.execute_stream("python", code))
    assert len([each for each in events if isinstance(each, Output)]) == 5


def test_one_shots(atoll: Atoll) -> None:
    code = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data); sys.exit(3)"
    result = atoll.execute("python", code, stdin=b"\xff\0", timeout_s=10)
    assert (result.stdout_bytes, result.exit_code, result.reason) == (b"\xff\0", 3, "exited")
    assert not result.ok
    assert atoll.run("echo $0 | tr a-z A-Z").ok
    assert atoll.run(["echo", "$HOME"]).stdout == "$HOME\n"
    assert atoll.execute("python", entry="m.py", files={"m.py": "print(4)"}).stdout == "4\n"
    slow = atoll.execute("python", "while True: pass", timeout_s=0.3)
    assert (slow.exit_code, slow.reason) == (None, "wall_time")


def test_a_wrong_request_names_its_field(atoll: Atoll) -> None:
    with pytest.raises(InvalidRequest) as caught:
        atoll.execute("python", "1", timeout_s=-1)
    assert caught.value.field == "timeout_s"
    with pytest.raises(InvalidRequest):
        atoll.execute("klingon", "1")


def test_a_batch(atoll: Atoll) -> None:
    items: list[Code | Command] = [
        Code("python", "print(1)"),
        Code("klingon", "1"),
        Command("exit 4"),
    ]
    first, second, third = atoll.batch(items, concurrency=2)
    assert isinstance(first, Result)
    assert first.stdout == "1\n"
    assert isinstance(second, Problem)
    assert isinstance(third, Result)
    assert third.exit_code == 4


async def test_a_stream_that_is_closed_ends_the_program(asynchronous: AsyncAtoll) -> None:
    code = "import time\nfor n in range(100): print(n, flush=True); time.sleep(0.1)"
    seen = b""
    async with aclosing(asynchronous.execute_stream("python", code)) as events:
        async for event in events:
            if isinstance(event, Output):
                seen += event.data
                break
    assert seen.startswith(b"0")
    assert (await asynchronous.execute("python", "print(2)")).stdout == "2\n"


def test_events_in_order(atoll: Atoll) -> None:
    events = list(atoll.run_stream("echo out; echo err >&2; exit 2"))
    assert isinstance(events[0], Started)
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.exit.exit_code == 2
    by_channel = {each.channel: each.data for each in events if isinstance(each, Output)}
    assert by_channel == {"stdout": b"out\n", "stderr": b"err\n"}


def test_the_life_of_a_sandbox(atoll: Atoll) -> None:
    with atoll.sandboxes.create(name="life", labels={"kind": "test"}, env={"WHO": "me"}) as box:
        assert box.exec("echo $WHO > kept; cat kept").stdout == "me\n"
        assert [each.id for each in atoll.sandboxes.list(labels={"kind": "test"})] == [box.id]
        with pytest.raises(Conflict):
            atoll.sandboxes.create(name="life")
        assert box.stop().state == "stopped"
        assert box.files.read_text("kept") == "me\n"
        assert box.start().state == "running"
        assert box.update(labels={"kind": "other"}).labels == {"kind": "other"}
        with box.fork(force=True) as twin:
            twin.files.write("kept", "twin")
            assert twin.exec(["cat", "kept"]).stdout == "twin"
        assert box.files.read("kept") == b"me\n"
        snapshot = box.snapshot(name="frozen", force=True)
        with atoll.sandboxes.create(base="frozen") as again:
            assert again.files.read("kept") == b"me\n"
        atoll.snapshots.drop(snapshot.id)
    assert box.refresh().state == "destroyed"
    assert box.post_mortem().ended_by == "client"
    box.destroy()


def test_files(box: Sandbox) -> None:
    odd = os.fsdecode(b"odd \xff ?#%")
    written = box.files.write(odd, b"\0\1", mode=0o755, if_match="")
    assert (written.size, written.mode & 0o777) == (2, 0o755)
    with pytest.raises(PreconditionFailed):
        box.files.write(odd, b"", if_match="")
    box.files.write(odd, b"\2", if_match=written.etag)
    assert box.files.read(odd) == b"\2"
    box.files.mkdir("a/b")
    box.files.move(odd, "a/b/plain")
    assert [each.kind for each in box.files.list("a", depth=2)] == ["directory", "file"]
    assert box.files.exists("a/b/plain")
    box.files.remove("a", recursive=True)
    assert not box.files.exists("a")
    with pytest.raises(NotFound):
        box.files.read("a/b/plain")
    box.files.write("/tmp/absolute", "x")
    assert box.exec(["cat", "/tmp/absolute"]).stdout == "x"


async def test_big_transfers(asynchronous: AsyncAtoll, tmp_path: Path) -> None:
    local = tmp_path / "big"
    local.write_bytes(os.urandom(20_000_000))
    async with await asynchronous.sandboxes.create() as box:
        seen: list[int] = []
        await box.files.upload(local, "big", progress=seen.append)
        assert sum(seen) == 20_000_000
        await box.files.download("big", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == local.read_bytes()


async def test_watching(asynchronous: AsyncAtoll) -> None:
    async with await asynchronous.sandboxes.create() as box:
        process = await box.processes.start("while :; do echo x > seen; sleep 0.1; done")
        async with aclosing(box.files.watch()) as changes:
            assert (await anext(changes)).path.endswith("seen")
        await process.kill()


async def test_a_watch_hinders_no_fork(asynchronous: AsyncAtoll) -> None:
    async with await asynchronous.sandboxes.create() as box:
        async with aclosing(box.files.watch()) as changes:
            first = asyncio.ensure_future(anext(changes))
            while not first.done():
                await box.files.write("seen", b"x")
            assert (await first).path == "/workspace/seen"
            with anyio.fail_after(4):
                await (await box.fork()).destroy()
            with pytest.raises(Conflict, match="watch"):
                while True:
                    await anext(changes)


def test_directories(box: Sandbox, tmp_path: Path) -> None:
    root = tmp_path / "from"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "run").write_text("#!/bin/sh\necho ran\n")
    (root / "deep" / "er" / "run").chmod(0o755)
    (root / "link").symlink_to("deep/er/run")
    box.files.upload_dir(root, "there")
    assert box.exec(["there/link"]).stdout == "ran\n"
    box.exec("ln -s /etc/passwd there/out; ln there/deep/er/run there/hard; mkfifo there/pipe")
    done = box.files.download_dir("there", tmp_path / "back")
    assert (tmp_path / "back" / "link").readlink() == Path("deep/er/run")
    assert (tmp_path / "back" / "hard").read_text() == "#!/bin/sh\necho ran\n"
    assert not (tmp_path / "back" / "out").exists()
    assert any(name.endswith("out") for name in done.left_out)


async def test_a_process_with_input(asynchronous: AsyncAtoll) -> None:
    async with await asynchronous.sandboxes.create() as box:
        process = await box.processes.start(["cat"], stdin_open=True)
        await process.write_stdin("one\n")
        async with aclosing(process.output()) as events:
            first = await anext(events)
        assert isinstance(first, Output)
        assert first.data == b"one\n"
        await process.write_stdin(b"two\n", close=True)
        assert (await process.wait()).ok
        rest = [each async for each in process.output(position=first.position)]
        assert [each.data for each in rest if isinstance(each, Output)] == [b"two\n"]
        (listed,) = await box.processes.list()
        assert listed.pid == process.pid


async def test_signals_and_kill(asynchronous: AsyncAtoll) -> None:
    async with await asynchronous.sandboxes.create() as box:
        first = await box.processes.start(
            "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done"
        )
        async with aclosing(first.output()) as events:
            await anext(events)
        await first.signal("SIGTERM")
        assert (await first.wait()).exit_code == 9
        second = await box.processes.start(["sleep", "60"])
        await second.kill()
        assert (await second.wait()).exit_code is None


def test_a_terminal(box: Sandbox) -> None:
    process = box.processes.start(["sh"], tty=(30, 100))
    with process.attach() as line:
        line.resize(40, 120)
        line.send(b"stty size; exit 5\n")
        text = b"".join(line.output())
        assert b"40 120" in text
        assert line.exit is not None
        assert line.exit.exit_code == 5


def test_keys_and_catalogue(atoll: Atoll, server: Server) -> None:
    made = atoll.keys.create("ci", tenant="blue", max_concurrent=2)
    assert made.key is not None
    with Atoll(server.url, made.key) as blue:
        assert blue.execute("python", "print(3)").stdout == "3\n"
        assert list(blue.sandboxes.list()) == []
    assert made.id in {each.id for each in atoll.keys.list()}
    atoll.keys.revoke(made.id)
    with Atoll(server.url, made.key) as blue, pytest.raises(Problem) as caught:
        blue.languages()
    assert caught.value.code == "unauthenticated"
    assert "python" in {each.name for each in atoll.languages() if each.available}
    assert any(each.usable for each in atoll.backends())
    assert atoll.ready()


def test_the_audit_log(atoll: Atoll, box: Sandbox) -> None:
    box.exec(["true"])
    page = atoll.events(limit=1)
    follow = atoll.follow_events(after="0")
    assert next(follow) == page.items[0]
    follow.close()
