"""Secrets of sandboxes: in this process's memory, and nowhere else.

Records know their names only. They outlive a stop of the sandbox, and not the end of the server.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from atoll.core.errors import Conflict
from atoll.core.model import ProcessSpec
from atoll.core.records import SandboxRecord

SHORTEST = 4
"""What is shorter is not looked for in output: it would be found everywhere."""
MARK = b"***"
SECRET_FILES = "secret_files"  # noqa: S105 - the name of a capability
_MOST = 1024


class Vault:
    """What each sandbox was given, and what must not be written down about it."""

    def __init__(self) -> None:
        self._secrets: dict[str, Mapping[str, str]] = {}
        self._hidden: dict[str, set[bytes]] = {}

    def put(self, sandbox_id: str, secrets: Mapping[str, str]) -> None:
        """From now on those and no others. The earlier ones stay hidden."""
        self._secrets[sandbox_id] = dict(secrets)
        self._hide(sandbox_id, secrets.values())

    def forget(self, sandbox_id: str) -> None:
        """It has ended."""
        self._secrets.pop(sandbox_id, None)
        self._hidden.pop(sandbox_id, None)

    def has(self, record: SandboxRecord) -> bool:
        """Whether none of its secrets was lost with an earlier server."""
        return not self._lost(record)

    def given(self, record: SandboxRecord, spec: ProcessSpec) -> ProcessSpec:
        """The program with the sandbox's secrets in its environment, beneath its own.

        `Conflict` when they were lost: a program does not run without what it was to be given.
        """
        if spec.secrets:
            self._hide(record.id, _values(spec))
        if not record.secrets:
            return spec
        lost = self._lost(record)
        if lost:
            raise Conflict(
                f"The secrets {', '.join(lost)} of sandbox {record.id} were lost when the server "
                "ended; give them again, or take them away, with PATCH."
            )
        variables, files = apart(self._secrets[record.id])
        return replace(spec, env={**variables, **spec.env}, files={**files, **spec.files})

    def redacted(self, record: SandboxRecord, output: bytes) -> bytes:
        """Output without any secret in it, for what is stored; nothing where one was lost."""
        if self._lost(record) or len(self._hidden.get(record.id, ())) > _MOST:
            return b""
        hidden = sorted(self._hidden.get(record.id, ()), key=len, reverse=True)
        for secret in hidden:
            output = output.replace(secret, MARK)
        for secret in hidden:
            output = _without_ends(output, secret)
        return output

    def _lost(self, record: SandboxRecord) -> list[str]:
        here = self._secrets.get(record.id, {})
        return [name for name in record.secrets if name not in here]

    def _hide(self, sandbox_id: str, secrets: Iterable[str | bytes]) -> None:
        hidden = self._hidden.setdefault(sandbox_id, set())
        for secret in secrets:
            raw = secret if isinstance(secret, bytes) else secret.encode("utf-8", "surrogateescape")
            if len(raw) >= SHORTEST:
                hidden.add(raw)


def apart(secrets: Mapping[str, str]) -> tuple[dict[str, str], dict[str, bytes]]:
    """Those that are variables, and those that are files, by their paths."""
    if not secrets:
        return {}, {}
    variables = {name: value for name, value in secrets.items() if not name.startswith("/")}
    files = {
        name: value.encode("utf-8", "surrogatepass")
        for name, value in secrets.items()
        if name.startswith("/")
    }
    return variables, files


def _values(spec: ProcessSpec) -> Iterable[str | bytes]:
    return (spec.files[name] if name[0] == "/" else spec.env[name] for name in spec.secrets)


def _without_ends(output: bytes, secret: bytes) -> bytes:
    """Without a part of the secret where the output was cut."""
    for size in range(len(secret) - 1, SHORTEST - 1, -1):
        if output.startswith(secret[-size:]):
            output = MARK + output[size:]
        if output.endswith(secret[:size]):
            output = output[:-size] + MARK
    return output
