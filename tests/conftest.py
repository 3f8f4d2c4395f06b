"""Rules for every test: one event loop, no blocking call in it, honest skips."""

import ast
import functools
import importlib.util
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from tests import facilities

# The detector counts these as blocking, but they wait for nothing.
_QUICK = ("os.path.abspath", "os.getcwd")
# Files in the kernel's memory (cgroups, memfds, pipes that are never full) make nobody wait.
_IN_MEMORY = {
    "atoll/jail/cgroups.py": ("os.mkdir", "os.rmdir", "os.read", "os.write"),
    "atoll/backends/namespace/sandbox.py": ("os.write",),
    "atoll/jail/host/waiting.py": ("os.write",),
}
_SKIPS = pytest.StashKey[dict[str, list[str]]]()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests and fixtures run on asyncio, as the server does."""
    return "asyncio"


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which code of atoll blocks the event loop.

    `@pytest.mark.blocking("why")` (or the same as `pytestmark`) turns it off.
    """
    if request.node.get_closest_marker("blocking"):
        yield
        return
    published = ["atoll.testing"] if importlib.util.find_spec("atoll.testing") else []
    with blockbuster_ctx("atoll", excluded_modules=published) as detector:
        for name in _QUICK:
            detector.functions[name].deactivate()
        for place, names in _IN_MEMORY.items():
            for name in names:
                detector.functions[name].can_block_in(place, _functions(place))
        yield


@functools.cache
def _functions(place: str) -> frozenset[str]:
    """The names of all functions in one of our files."""
    spec = importlib.util.find_spec(place.removesuffix(".py").replace("/", "."))
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    names = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return frozenset(names)


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """A PostgreSQL database that tests may fill and drop; use with `needs("postgres")`."""
    return os.environ[facilities.POSTGRES_URL]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--expect-skips",
        metavar="MODE",
        choices=["root", "rootless"],
        help="fail unless the skips are those of tests/expected_skips.toml for this mode",
    )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell does in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    skips: dict[str, list[str]] = defaultdict(list)
    config.stash[_SKIPS] = skips
    # Nothing is written beside the sources, and a busy machine is no failure.
    settings.register_profile("atoll", database=None, deadline=None)
    settings.load_profile("atoll")


def pytest_runtest_setup(item: pytest.Item) -> None:
    wanted = [str(name) for mark in item.iter_markers("needs") for name in mark.args]
    for name in wanted:
        why = facilities.missing(name)
        if why:
            item.config.stash[_SKIPS][name].append(item.nodeid)
            pytest.skip(f"needs {name}: {why}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and not hasattr(report, "wasxfail"):
        skips = item.config.stash[_SKIPS]
        if not any(item.nodeid in nodes for nodes in skips.values()):
            skips["other"].append(item.nodeid)


def _differences(config: pytest.Config) -> list[str]:
    mode = config.getoption("--expect-skips")
    if not mode:
        return []
    seen = Counter({name: len(nodes) for name, nodes in config.stash[_SKIPS].items()})
    expected = Counter(facilities.expected_skips(mode))
    return [
        f"{name}: {seen[name]} skipped, tests/expected_skips.toml [{mode}] says {expected[name]}"
        for name in sorted(seen.keys() | expected.keys())
        if seen[name] != expected[name]
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.OK and _differences(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    skips = config.stash[_SKIPS]
    if skips:
        terminalreporter.section("facilities this host lacks")
        for name, nodes in sorted(skips.items()):
            why = "skipped by the test itself" if name == "other" else facilities.missing(name)
            terminalreporter.write_line(f"{name:<12} {len(nodes):>4} tests not run   {why}")
    for line in _differences(config):
        terminalreporter.write_line(line, red=True)
