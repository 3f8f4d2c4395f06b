"""Parameters that several routes take."""

from typing import Annotated

from fastapi import Header, Path, Query

SANDBOX = _ID = r"^[A-Za-z0-9._-]{1,128}$"
_LABEL = r"^[^=,\s\x00]+=[^\x00]*$"

SandboxRef = Annotated[str, Path(pattern=_ID, description="The id or the name of a sandbox.")]
SnapshotRef = Annotated[str, Path(pattern=_ID, description="The id or the name of a snapshot.")]
Pid = Annotated[int, Path(ge=1, le=2**31 - 1, description="The process' number in its sandbox.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="The most items of a page.")]
Cursor = Annotated[str | None, Query(pattern=_ID, description="`next_cursor` of the page before.")]
LabelFilter = Annotated[
    list[Annotated[str, Query(pattern=_LABEL, max_length=512)]] | None,
    Query(max_length=16, description="Only what has this label: `key=value`. Repeatable."),
]
Where = Annotated[
    str,
    Query(min_length=1, max_length=4096, pattern=r"^[^\x00]*$", description="A path in it."),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key with the same request gives the same thing again.",
    ),
]
