"""Which rows, on which server, and where the report goes."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from atoll.cli.bench import (
    agentkernel,
    archive,
    idle,
    lifecycle,
    oneshot,
    report,
    stream,
    vms,
    wasm,
)
from atoll.cli.bench.row import Row
from atoll.cli.bench.series import Failed
from atoll.cli.bench.server import NoServer, Server, core_count, own_server

_NOT_BUILT = {
    "microvm": "microVM restore from snapshot",
}
# Load per CPU above which nobody should believe an absolute time.
_QUIET = 0.4


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for. With a `url` that server is measured, else one of our own."""

    groups: tuple[str, ...]
    runs: int
    url: str | None
    api_key: str | None
    out: Path | None
    as_json: bool


_SHARED: Mapping[str, Callable[[Server, int], Row]] = {
    "oneshot": oneshot.print_two,
    "throughput": lambda server, _: oneshot.throughput(server),
    "lifecycle": lifecycle.whole_life,
    "fork": lambda server, _: lifecycle.fork(server),
    "stream": stream.first_byte,
    "archive": lambda server, _: archive.in_and_out(server),
    "agentkernel": agentkernel.run,
}
_ON_THEIR_OWN: Mapping[str, Callable[[int], Row]] = {
    "preload": oneshot.preloaded,
    "idle": lambda _: idle.thousand(),
    "wasm": wasm.hello,
    "vms": vms.made,
    "scripts": vms.scripts,
    "vm-files": lambda _: vms.archives(),
}
GROUPS = (*_SHARED, *_ON_THEIR_OWN, *_NOT_BUILT)


def measure(plan: Plan) -> int:
    """Measure and report; 0 when every row that could be measured holds."""
    unknown = [group for group in plan.groups if group not in GROUPS]
    if unknown:
        sys.stderr.write(f"atoll: no group {unknown[0]!r}; there are {', '.join(GROUPS)}\n")
        return 2
    load = os.getloadavg()[0]
    if load > core_count() * _QUIET:
        sys.stderr.write(
            f"atoll: the machine is busy (load {load:.2f} on {core_count()} CPUs): absolute times "
            "will be too long; ratios suffer less\n"
        )
    rows: list[Row] = []
    try:
        for row in _rows(plan):
            rows.append(row)
            if not plan.as_json:
                sys.stdout.write("\n".join(report.lines(row)) + "\n\n")
                sys.stdout.flush()
    except NoServer as failed:
        sys.stderr.write(f"atoll: {failed}\n")
        return 125
    text = json.dumps(report.document(rows, load), indent=2) + "\n"
    if plan.out is not None:
        plan.out.write_text(text, encoding="utf-8")
    if plan.as_json:
        sys.stdout.write(text)
    return 1 if any(row.met is False for row in rows) else 0


def _rows(plan: Plan) -> Iterator[Row]:
    wanted = plan.groups or GROUPS
    shared = [group for group in _SHARED if group in wanted]
    if shared:
        with ExitStack() as stack:
            server = _server(plan, stack)
            for group in shared:
                yield _guarded(group, partial(_SHARED[group], server, plan.runs))
    for group in [group for group in _ON_THEIR_OWN if group in wanted]:
        if plan.url is not None:
            yield Row(group, group, why=("it needs a server of its own: no --running",))
            continue
        yield _guarded(group, partial(_ON_THEIR_OWN[group], plan.runs))
    for group in [group for group in _NOT_BUILT if group in wanted]:
        why = f"this version has no {group} backend"
        yield Row(group, _NOT_BUILT[group], why=(why,))


def _server(plan: Plan, stack: ExitStack) -> Server:
    if plan.url is None:
        return stack.enter_context(own_server())
    parts = urlsplit(plan.url)
    if parts.scheme != "http" or not parts.hostname:
        raise NoServer(f"only http:// servers can be measured, not {plan.url}")
    return Server(parts.hostname, parts.port or 80, plan.api_key)


def _guarded(group: str, run: Callable[[], Row]) -> Row:
    """A row that fails says so, and the others go on."""
    try:
        return run()
    except (Failed, OSError) as failed:
        return Row(group, group, why=(f"it failed: {failed}",), failed=True)
