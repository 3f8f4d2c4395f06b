"""The suite itself: no case hides another, and a broken backend does not pass."""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest

from atoll.backends.fake import FakeBackend, Invocation
from atoll.backends.fake.sandbox import FakeSandbox
from atoll.core.errors import AtollError
from atoll.core.model import SandboxSpec
from atoll.core.ports import Backend, Sandbox
from atoll.testing import BackendContract
from atoll.testing.backend.cases import needs
from atoll.testing.backend.running import fresh

pytestmark = pytest.mark.anyio

SUITE = BackendContract()


def test_no_case_hides_another() -> None:
    themes = [theme for theme in BackendContract.__mro__ if theme is not BackendContract]
    cases = Counter(name for theme in themes for name in vars(theme) if name.startswith("test_"))
    assert [name for name, count in cases.items() if count > 1] == []
    assert len(cases) > 150


def test_an_unknown_capability_is_refused() -> None:
    with pytest.raises(ValueError, match="colour"):
        needs("colour")


class Forgetful(FakeBackend):
    """Keeps an id that was cancelled while it was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []

    def open(self, spec: SandboxSpec) -> AbstractAsyncContextManager[FakeSandbox]:
        @asynccontextmanager
        async def opening() -> AsyncGenerator[FakeSandbox, None]:
            self.begun.append(spec.id)
            async with FakeBackend.open(self, spec) as box:
                yield box
                self.begun.remove(spec.id)

        return opening()

    async def owned(self) -> Sequence[str]:
        return self.begun


class Grouping(FakeBackend):
    """Wraps the errors of the block into a group."""

    def open(self, spec: SandboxSpec) -> AbstractAsyncContextManager[FakeSandbox]:
        @asynccontextmanager
        async def opening() -> AsyncGenerator[FakeSandbox, None]:
            async with FakeBackend.open(self, spec) as box, anyio.create_task_group():
                yield box

        return opening()


class Permissive(FakeBackend):
    """Opens an id as often as it is asked to."""

    def open(self, spec: SandboxSpec) -> AbstractAsyncContextManager[FakeSandbox]:
        return FakeBackend.open(self, SandboxSpec(fresh().id, persistent=spec.persistent))


@pytest.mark.parametrize(
    ("backend", "case"),
    [
        (Forgetful(), SUITE.test_cancellation_at_each_checkpoint_of_open),
        (Forgetful(), SUITE.test_an_error_in_the_block_leaves_it_as_it_is),
        (Grouping(), SUITE.test_an_error_in_the_block_leaves_it_as_it_is),
        (Permissive(), SUITE.test_an_open_id_is_a_conflict),
        (Permissive(), SUITE.test_the_id_is_the_one_asked_for),
        (Permissive(), SUITE.test_a_persistent_sandbox_keeps_its_files),
    ],
)
async def test_a_broken_backend_does_not_pass(
    backend: Backend, case: Callable[[Backend], Awaitable[None]]
) -> None:
    with pytest.raises((AssertionError, AtollError, ExceptionGroup, pytest.fail.Exception)):
        await case(backend)


async def _short_cat(call: Invocation) -> int:
    await call.stdout(call.tree.file(call.path(call.argv[1])).data[:-1])
    return 0


async def _held_back(call: Invocation) -> int:
    await call.process.sleep(0.4)
    await call.stdout(b"one\ntwo\n")
    return 0


async def _merged(call: Invocation) -> int:
    await call.stdout(b"out\nerr\nagain\n")
    return 0


async def _deaf(_call: Invocation) -> int:
    await anyio.sleep(0.1)  # waits on purpose: deaf for a while
    return 0


Case = Callable[[Sandbox], Awaitable[None]]


@pytest.mark.parametrize(
    ("word", "program", "case"),
    [
        ("sh", _held_back, SUITE.test_output_arrives_as_it_is_written),
        ("sh", _merged, SUITE.test_stderr_is_apart),
        ("cat", _deaf, SUITE.test_stdin_reaches_the_program),
        ("sleep", _deaf, SUITE.test_wall_time),
        ("yes", _deaf, SUITE.test_output_is_cut),
        ("printf", _deaf, SUITE.test_many_arguments),
    ],
)
async def test_a_broken_program_is_noticed(
    word: str, program: Callable[[Invocation], Awaitable[int]], case: Case
) -> None:
    fake = FakeBackend()
    async with fake.open(fresh()) as box:
        await case(box)
        fake.script(word, program)
        with pytest.raises(AssertionError):
            await case(box)


async def test_a_lost_byte_is_noticed() -> None:
    fake = FakeBackend()
    fake.script("cat", _short_cat)
    async with fake.open(fresh()) as box:
        for case in (SUITE.test_every_byte_value_passes, SUITE.test_megabytes_are_exact):
            with pytest.raises(AssertionError):
                await case(box, "/workspace")
