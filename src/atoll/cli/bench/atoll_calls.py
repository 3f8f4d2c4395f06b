"""The calls that the rows time, on a bare connection; a wrong answer is `Failed`."""

from collections.abc import Callable
from typing import cast

from atoll.cli.bench.plain_http import Answer, BrokenAnswer, Connection
from atoll.cli.bench.series import Contender, Failed

_OK = range(200, 300)


def ask(connection: Connection, method: str, path: str, document: object = None) -> Answer:
    """A success's answer."""
    try:
        answer = connection.send(method, path, document)
    except BrokenAnswer as broken:
        raise Failed(str(broken)) from broken
    if answer.status not in _OK:
        raise Failed(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
    return answer


def execute(connection: Connection, body: dict[str, object], stdout: str) -> Contender:
    """A one-shot whose output is known; the request's bytes are made once."""
    return _told(connection, "/v1/execute", body, stdout)


def run(connection: Connection, argv: list[str], files: dict[str, str], stdout: str) -> Contender:
    """The same of a command."""
    return _told(connection, "/v1/run", {"argv": argv, "files": files}, stdout)


def _told(connection: Connection, path: str, body: dict[str, object], stdout: str) -> Contender:
    request = connection.request_bytes("POST", path, body)

    def attempt() -> None:
        try:
            answer = connection.exchange(request)
        except BrokenAnswer as broken:
            raise Failed(str(broken)) from broken
        if answer.status not in _OK or answer.document().get("stdout") != stdout:
            raise Failed(f"{answer.status} {answer.body[:300]!r}")

    return Contender(attempt)


def create_sandbox(connection: Connection, **body: object) -> str:
    """Make one; its id."""
    made = ask(connection, "POST", "/v1/sandboxes", body).document()
    return cast("str", made["id"])


def delete_sandbox(connection: Connection, sandbox_id: str) -> None:
    """Destroy one."""
    ask(connection, "DELETE", f"/v1/sandboxes/{sandbox_id}")


def run_in(connection: Connection, sandbox_id: str, argv: list[str], **more: object) -> str:
    """Run a program there that must end with 0; its output."""
    body = {"argv": argv, **more}
    done = ask(connection, "POST", f"/v1/sandboxes/{sandbox_id}/exec", body).document()
    if done.get("exit_code") != 0:
        raise Failed(f"{argv[0]} in {sandbox_id}: {done}")
    return cast("str", done["stdout"])


def timed(work: Callable[[], object]) -> Callable[[], None]:
    """A piece of work as a contender's attempt."""

    def attempt() -> None:
        work()

    return attempt
