"""Names of images, as people write them: `python:3.12-alpine`, `registry.example:5000/team/app`."""

import re
from dataclasses import dataclass

from atoll.core.errors import InvalidRequest

NAME_MAX = 255
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = re.compile(
    rf"(?:(?P<registry>{_HOST})/)?(?P<path>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}))?"
)
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Reference:
    """A name taken apart; `registry` is empty when it names none."""

    registry: str
    path: str
    tag: str

    @property
    def name(self) -> str:
        """The one spelling that the store knows it by."""
        return "/".join(filter(None, (self.registry, f"{self.path}:{self.tag}")))

    @property
    def loopback(self) -> bool:
        """Whether its registry is on this machine, and so may speak plain HTTP."""
        return _LOOPBACK.fullmatch(self.registry) is not None


def parse(name: str) -> Reference:
    """Take a name apart; `InvalidRequest` for what cannot be one."""
    found = _NAME.fullmatch(name) if len(name) <= NAME_MAX else None
    registry = (found["registry"] or "") if found else ""
    # `team/app`: no registry, a longer path.
    short = registry and not {".", ":"} & set(registry) and registry != "localhost"
    if found is None or (short and not re.fullmatch(_PART, registry)):
        raise InvalidRequest(
            f"{name[:100]!r} cannot be the name of an image; one is like 'python:3.12-alpine' or "
            "'registry.example/team/app:1', in lower case.",
            field="image",
        )
    path, tag = found["path"], found["tag"] or "latest"
    return Reference("", f"{registry}/{path}", tag) if short else Reference(registry, path, tag)
