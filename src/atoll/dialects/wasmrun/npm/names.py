"""Names, ranges and install paths of packages: what may be asked for."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import nodesemver

from atoll.dialects.wasmrun.errors import BadRequest

LONGEST_NAME = 214
LONGEST_RANGE = 256
MOST = 200
_NAME = re.compile(r"(@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*")
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_FORBIDDEN = frozenset({"node_modules", "favicon.ico"})


class Unfit(BadRequest):
    """There is no such package or version, or it is of no use here. What is optional may be."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A package to install as `name`. `package` differs for an alias; `tag` is a dist-tag."""

    name: str
    package: str
    range: str
    tag: bool
    optional: bool = False

    def made_optional(self) -> "Asked":
        """The same, but one may do without."""
        return replace(self, optional=True)

    def takes(self, version: str) -> bool:
        """Whether a version will do."""
        return not self.tag and bool(nodesemver.satisfies(version, self.range, loose=True))


def is_name(text: str) -> bool:
    """Whether a package may be called so."""
    return (
        len(text) <= LONGEST_NAME
        and _NAME.fullmatch(text) is not None
        and text.rpartition("/")[2] not in _FORBIDDEN
    )


def asked(name: str, wanted: str, *, optional: bool = False) -> Asked:
    """What a dependency asks for. `BadRequest` names it where it is none."""
    if not is_name(name):
        raise BadRequest(f"Invalid package name: '{name[:LONGEST_NAME]}'")
    package, text = name, wanted.strip()
    if text.startswith("npm:"):
        package, _, text = text[4:].rpartition("@")
        if not package:
            package, text = text, "*"
        if not is_name(package):
            raise BadRequest(f"Invalid package name: '{package[:LONGEST_NAME]}'")
    if len(text) > LONGEST_RANGE or "\0" in text:
        raise BadRequest(f"Invalid version range for '{name}'")
    if is_range(text):
        return Asked(name, package, text, tag=False, optional=optional)
    if _TAG.fullmatch(text):
        return Asked(name, package, text, tag=True, optional=optional)
    raise BadRequest(f"Invalid version range for '{name}': '{text}'")


def asked_all(dependencies: Mapping[str, str], optional: Collection[str] = ()) -> list[Asked]:
    """The same for all, by name."""
    if len(dependencies) > MOST:
        raise BadRequest(f"dependencies may have at most {MOST} packages")
    return [
        asked(name, dependencies[name], optional=name in optional) for name in sorted(dependencies)
    ]


def is_range(text: str) -> bool:
    """Whether it is a range of versions."""
    try:
        # Not `valid_range`, which logs what is none.
        nodesemver.make_range(text, loose=True)
    except ValueError:
        return False
    return True


def check_path(path: str) -> str:
    """An install path of a lockfile; `BadRequest` unless it is `node_modules/NAME` and so on."""
    names = path.split("node_modules/")
    good = names[0] == "" and len(names) > 1 and len(path) <= 2048  # noqa: PLR2004
    for index, name in enumerate(names[1:], start=1):
        last = index == len(names) - 1
        good = good and (last or name.endswith("/")) and is_name(name.removesuffix("/"))
        good = good and not (last and name.endswith("/"))
    if not good:
        raise BadRequest(f"Invalid lockfile path: '{path[:200]}'")
    return path
