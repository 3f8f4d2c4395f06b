"""The table of images: what a name means that the store does not know, and for which command."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from atoll.core.images import HOST
from atoll.images.languages import BadTable
from atoll.images.reference import Reference

Package = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]{1,100}(:[a-z0-9]+)?$")]


class Rule(BaseModel):
    """What some names mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: tuple[str, ...] = Field(min_length=1)
    root: Literal["host", "debian", "oci"]
    packages: tuple[Package, ...] = ()
    bare: bool = False
    suite: str = Field("", pattern=r"^([a-z][a-z0-9-]*)?$")
    source: str = Field("", alias="from")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.packages or self.suite or self.bare) and self.root != "debian":
            raise ValueError('packages, suite and bare are for root = "debian"')
        if self.bare and not self.packages:
            raise ValueError("bare needs packages")
        if bool(self.source) != (self.root == "oci"):
            raise ValueError('root = "oci" and `from` belong together')
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rule: tuple[Rule, ...] = ()
    commands: Mapping[str, tuple[str, ...]] = Field(default_factory=dict[str, tuple[str, ...]])


@dataclass(frozen=True)
class ImageTable:
    """Rules, the first that fits counts, and an image for the first words of commands."""

    rules: Sequence[Rule]
    commands: Mapping[str, str]

    def rule(self, reference: Reference) -> Rule | None:
        """What is said of that name."""
        for rule in self.rules:
            if any(fnmatchcase(reference.name, pattern) for pattern in rule.match):
                return rule
        return None

    def detect(self, argv: Sequence[str]) -> str:
        """The image that a command is meant for."""
        word = argv[0].rpartition("/")[2] if argv else ""
        return self.commands.get(word, HOST)


def load(own: Path | None = None) -> ImageTable:
    """The operator's own table before the one that comes with Atoll. Blocks; at start only.

    Raises `BadTable` with all of its problems, `OSError` when it cannot be read.
    """
    text = resources.files("atoll.images").joinpath("images.toml").read_text("utf-8")
    files = [] if own is None else [_parsed(own.read_text("utf-8"), str(own))]
    files.append(_parsed(text, "images.toml"))
    commands: dict[str, str] = {}
    for file in reversed(files):
        commands |= {word: image for image, words in file.commands.items() for word in words}
    return ImageTable([rule for file in files for rule in file.rule], commands)


def _parsed(text: str, where: str) -> _File:
    try:
        return _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise BadTable(where, [f"is not TOML: {error}"]) from error
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise BadTable(where, problems) from error
