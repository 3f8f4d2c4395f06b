"""What every case has: the backend, a shared sandbox, a directory of its own, and the gate."""

from collections.abc import AsyncGenerator, Callable
from typing import ClassVar, TypeVar

import pytest

from atoll.core.model import BackendReport
from atoll.core.ports import Backend, Sandbox
from atoll.testing.backend.running import fresh, fresh_id

CAPABILITIES = {
    "programs": "the plainest of POSIX: `sh`, `echo`, `cat`, `printf`, `sleep`, `true`, `pwd`",
    "processes": "programs that start others and signal themselves, and scripts",
    "bytes": "names, arguments and variables that are not UTF-8",
    "shell": "a POSIX shell and coreutils, on a kernel: /proc, named pipes, devices, sockets",
    "python": "a `python3`",
    "tty": "terminals",
    "pause": "`core.ports.Pausable`",
    "snapshots": "`core.ports.Snapshots`",
    "archive": "`core.ports.Archives`",
    "watch": "`core.ports.Watches`",
    "read_only_root": "`SandboxSpec.read_only_root`",
    "secret_files": "what is in `/run/secrets` is on no disk, and gone when the sandbox is closed",
    "ports": "`core.ports.Dials`",
}
"""The words of `BackendReport.capabilities` that cases ask for.

`limit:NAME` asks that NAME is a key of `BackendReport.limits`: `cpu_time`, `memory`, `processes`,
`disk`, `disk_files`, `open_files`. The limits `wall_time` and `output` are everybody's.
"""

Case = TypeVar("Case", bound=Callable[..., object])


def needs(*capabilities: str) -> Callable[[Case], Case]:
    """Skip a case on a backend whose report lacks one of these."""
    unknown = [c for c in capabilities if c not in CAPABILITIES and not c.startswith("limit:")]
    if unknown:
        raise ValueError(f"no such capability: {unknown}")

    def mark(case: Case) -> Case:
        case.__dict__["needs"] = capabilities
        return case

    return mark


def _is_text(value: object) -> bool:
    """False for a string with bytes in it that are not UTF-8."""
    return not isinstance(value, str) or value == value.encode("utf-8", "replace").decode()


class Cases:
    """Base of the themes. A subclass of the whole overrides the fixture `backend`."""

    pytestmark = pytest.mark.anyio
    theme_needs: ClassVar[tuple[str, ...]] = ()
    """What every case of the theme needs."""

    @pytest.fixture(scope="class")
    async def backend(self) -> AsyncGenerator[Backend, None]:
        raise NotImplementedError("Give the class an async fixture `backend` of scope class.")
        yield

    @pytest.fixture(scope="class")
    async def report(self, backend: Backend) -> BackendReport:
        """What the backend says of itself."""
        return await backend.probe()

    @pytest.fixture(scope="class")
    async def box(self, backend: Backend) -> AsyncGenerator[Sandbox, None]:
        """A sandbox shared by the cases that do not harm it."""
        async with backend.open(fresh()) as box:
            yield box

    @pytest.fixture
    async def place(self, box: Sandbox) -> str:
        """A new directory in the shared sandbox."""
        path = f"/workspace/{fresh_id()}"
        await box.files.mkdir(path)
        return path

    @pytest.fixture(autouse=True)
    def capable(self, request: pytest.FixtureRequest, report: BackendReport) -> None:
        """Skip what this backend does not say it can."""
        has = report.capabilities | {f"limit:{name}" for name in report.limits}
        wanted: tuple[str, ...] = getattr(request.function, "needs", ())
        name = request.function.__name__
        theme = next(each for each in type(self).__mro__ if name in each.__dict__)
        callspec = getattr(request.node, "callspec", None)
        if callspec is not None and not all(map(_is_text, callspec.params.values())):
            wanted += ("bytes",)
        wanted += getattr(theme, "theme_needs", ())
        lacking = [name for name in wanted if name not in has]
        if lacking:
            pytest.skip(f"{report.name} does not have: {', '.join(lacking)}")
