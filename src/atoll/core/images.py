"""What an image is: a name that people use, a digest that never changes, layers to mount."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

HOST = "host"
LAYERS_MAX = 40
_PINNED = re.compile(r"(?P<name>[^@]*)@sha256:(?P<digest>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the store. `digest` is its identity; `names` point at it and may move.

    `layers` are newest first, each the name of a directory in the store. `env`, `workdir`, `user`,
    `entrypoint` and `command` are what the image says of itself. `source` is how it came here.
    """

    digest: str
    source: str
    layers: tuple[str, ...]
    size_bytes: int
    created_at: float
    names: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    workdir: str = ""
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the making of an image is. `bytes` counts what has come of the stage so far."""

    stage: str
    bytes: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection of garbage has removed."""

    images: tuple[str, ...] = ()
    layers: int = 0
    blobs: int = 0
    freed_bytes: int = 0


def pinned(name: str, digest: str) -> str:
    """A reference that means the same image for ever, and still tells the name."""
    return f"{name}@sha256:{digest}"


def split(reference: str) -> tuple[str, str | None]:
    """The name, and the digest when the reference is pinned."""
    found = _PINNED.fullmatch(reference)
    return (found["name"], found["digest"]) if found else (reference, None)
