"""Files in a persistent sandbox."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, RootModel

from atoll.core.model import FileKind
from atoll.http.schemas.words import AnswerModel, Encoded, GuestPath, RequestModel, TextEncoding

Mode = Annotated[int, Field(ge=0, le=0o7777, description="Permissions, as a decimal number.")]


class MakeDirectory(RequestModel):
    """Make a directory, by default with its parents."""

    op: Literal["mkdir"]
    mode: Mode = 0o755
    parents: bool = True


class Move(RequestModel):
    """Rename it."""

    op: Literal["move"]
    to: GuestPath
    overwrite: bool = False


class FileOperation(RootModel[Annotated[MakeDirectory | Move, Field(discriminator="op")]]):
    """Something to do with a path."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"op": "mkdir"}]})


class FileIn(Encoded):
    """A file's content in JSON, sent as `application/vnd.atoll.file+json`."""


class EntryOut(AnswerModel):
    """One path. `path` has marks in place of what is not UTF-8; `href` is always exact."""

    path: str
    href: str
    kind: FileKind
    size: int
    mode: int
    mtime: float
    etag: str
    target: str | None


class FileOut(EntryOut):
    """A file with its content."""

    content: str
    encoding: TextEncoding


class Listing(AnswerModel):
    """What is beneath a directory. `truncated` when there was more than the server lists."""

    items: list[EntryOut]
    truncated: bool


class UnpackedOut(AnswerModel):
    """How many entries an archive made."""

    entries: int
