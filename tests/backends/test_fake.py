"""The fake keeps the contract, and fails on purpose where it is told to."""

import anyio
import pytest

from atoll.backends.fake import OPEN_STEPS, FakeBackend, Invocation
from atoll.core.errors import BackendFault, InvalidRequest, Unavailable
from atoll.core.model import ExitReason, ProcessSpec, SandboxSpec
from atoll.core.ports import Backend, Ended, Pausable, Snapshots, Watches
from atoll.testing import BackendContract
from atoll.testing.backend.running import finish, program, read, run, script

pytestmark = pytest.mark.anyio

SPEC = SandboxSpec("sb_one")


class TestFake(BackendContract):
    @pytest.fixture(scope="class")
    async def backend(self) -> Backend:
        return FakeBackend()


@pytest.fixture
def fake() -> FakeBackend:
    return FakeBackend()


async def test_it_has_the_rare_powers(fake: FakeBackend) -> None:
    assert isinstance(fake, Snapshots)
    async with fake.open(SPEC) as box:
        assert isinstance(box, Ended)
        assert isinstance(box, Pausable)
        assert isinstance(box, Watches)


@pytest.mark.parametrize("step", OPEN_STEPS)
async def test_open_can_fail(fake: FakeBackend, step: str) -> None:
    fake.faults.fail(step, BackendFault("on purpose"))
    with pytest.raises(BackendFault, match="on purpose"):
        async with fake.open(SPEC):
            pytest.fail("It was opened.")
    assert await fake.owned() == []
    async with fake.open(SPEC):
        assert await fake.owned() == ["sb_one"]


@pytest.mark.parametrize("step", OPEN_STEPS)
@pytest.mark.parametrize("persistent", [False, True])
async def test_open_can_be_cancelled_at_each_step(
    fake: FakeBackend, step: str, persistent: bool
) -> None:
    hang = fake.faults.hang(step)
    async with anyio.create_task_group() as tasks:

        async def opening() -> None:
            async with fake.open(SandboxSpec("sb_one", persistent=persistent)):
                pytest.fail("It was opened.")

        tasks.start_soon(opening)
        await hang.reached.wait()
        assert await fake.owned() == ["sb_one"]
        tasks.cancel_scope.cancel()
    assert await fake.owned() == []


async def test_a_hang_can_be_released(fake: FakeBackend) -> None:
    hang = fake.faults.hang("start")
    async with fake.open(SPEC) as box, anyio.create_task_group() as tasks:

        async def start() -> None:
            assert (await run(box, script("exit 3"))).exit.code == 3

        tasks.start_soon(start)
        await hang.reached.wait()
        hang.release()


async def test_faults_are_counted(fake: FakeBackend) -> None:
    fake.faults.fail("files.write", BackendFault("on purpose"), after=1, times=2)
    async with fake.open(SPEC) as box:
        await box.files.write("a", b"")
        for _ in range(2):
            with pytest.raises(BackendFault):
                await box.files.write("a", b"")
        await box.files.write("a", b"")


async def test_a_close_that_fails_still_leaves_nothing(fake: FakeBackend) -> None:
    fake.faults.fail("close", BackendFault("on purpose"))
    with pytest.raises(BackendFault):
        async with fake.open(SPEC):
            pass
    assert await fake.owned() == []


@pytest.mark.parametrize(
    ("why", "reason"), [("memory", ExitReason.MEMORY), ("crash", ExitReason.UNKNOWN)]
)
async def test_a_sandbox_can_die(fake: FakeBackend, why: str, reason: ExitReason) -> None:
    async with fake.open(SPEC) as box:
        process = await box.start(program("sleep", "20"))
        fake.die("sb_one", why)
        assert await box.ended() == why
        assert (await process.wait()).reason is reason
        with pytest.raises(BackendFault):
            await box.start(program("true"))
        with pytest.raises(BackendFault):
            await read(box.files, "a")


async def test_it_can_die_at_a_step(fake: FakeBackend) -> None:
    fake.faults.die("files.chunk", after=1)
    async with fake.open(SPEC) as box:
        await box.files.write("big", b"x" * 300_000)
        with pytest.raises(BackendFault):
            await read(box.files, "big")
        assert await box.ended() == "crash"


async def test_output_can_be_slow(fake: FakeBackend) -> None:
    fake.faults.delay("output", 0.1)
    async with fake.open(SPEC) as box:
        started = anyio.current_time()
        assert (await run(box, script("echo 1; echo 2"))).stdout == b"1\n2\n"
        assert anyio.current_time() - started >= 0.2


async def test_a_program_can_be_scripted(fake: FakeBackend) -> None:
    async def python3(call: Invocation) -> int:
        source = call.tree.file(call.path(call.argv[1])).data
        await call.stdout(b"ran " + source)
        return 4

    fake.script("python3", python3)
    async with fake.open(SPEC) as box:
        spec = ProcessSpec(("python3", "main.py"), files={"main.py": b"print(1)"})
        done = await finish(await box.start(spec))
        assert (done.stdout, done.exit.code) == (b"ran print(1)", 4)


async def test_a_scripted_program_can_end_as_it_likes(fake: FakeBackend) -> None:
    async def hog(call: Invocation) -> int:
        call.process.end(ExitReason.MEMORY)
        await anyio.sleep_forever()
        return 0

    async def stubborn(call: Invocation) -> int:
        call.process.on_signal(15, lambda: None)
        await call.stdout(b"ready")
        await anyio.sleep_forever()
        return 0

    fake.script("hog", hog)
    fake.script("stubborn", stubborn)
    async with fake.open(SPEC) as box:
        assert (await run(box, program("hog"))).exit.reason is ExitReason.MEMORY
        process = await box.start(program("stubborn"))
        await process.signal(15)
        with anyio.move_on_after(0.05) as scope:
            await process.wait()
        assert scope.cancelled_caught
        await process.signal(9)
        assert (await process.wait()).signal == 9


async def test_python_is_not_there_until_scripted(fake: FakeBackend) -> None:
    async with fake.open(SPEC) as box:
        with pytest.raises(InvalidRequest):
            await box.start(program("python3", "main.py"))


async def test_one_that_is_not_usable() -> None:
    fake = FakeBackend("broken", why_not="there is no kernel")
    report = await fake.probe()
    assert (report.name, report.usable, report.why) == ("broken", False, "there is no kernel")
    with pytest.raises(Unavailable, match="there is no kernel"):
        async with fake.open(SPEC):
            pytest.fail("It was opened.")


@pytest.mark.parametrize(
    ("text", "stdout", "code"),
    [
        ("echo a; echo b", b"a\nb\n", 0),
        ("false && echo no || echo yes", b"yes\n", 0),
        ("exit 7; echo no", b"", 7),
        ("nosuch 2> /dev/null; echo $?", b"127\n", 0),
        ("X='a b'; echo \"$X\"c '$X' \\$X # no", b"a bc $X $X\n", 0),
        ("echo one > f; echo two >> f; cat < f", b"one\ntwo\n", 0),
        ("cd /tmp && pwd", b"/tmp\n", 0),
        ("mkdir -p a/b && ls; test -d a/b && [ -n x ]", b"a\n", 0),
        ("echo 'open", b"", 2),
        ("printf '%s-%d\\t%%\\n' a 1 b 2", b"a-1\t%\nb-2\t%\n", 0),
        ("sh -c 'exit 3'; echo $?", b"3\n", 0),
        ("sleep 0.01 & echo first", b"first\n", 0),
    ],
)
async def test_the_shell(fake: FakeBackend, text: str, stdout: bytes, code: int) -> None:
    async with fake.open(SPEC) as box:
        done = await run(box, script(text))
        assert (done.stdout, done.exit.code) == (stdout, code)
