"""`atoll sandbox cp`: files and directories in and out, with progress on a terminal."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from atoll.cli import show
from atoll.cli.options import Json, connect

if TYPE_CHECKING:
    from atoll.client import Files

Place = Annotated[str, typer.Argument(help="A local path, or SANDBOX:PATH.")]
Progress = Callable[[int], None]


def add_to(group: typer.Typer) -> None:
    """Declare the command."""
    group.command()(cp)


def cp(
    context: typer.Context,
    source: Place,
    target: Place,
    json_: Json = False,
) -> None:
    """Copy a file or a directory into or out of a sandbox.

    One of the two is SANDBOX:PATH, the other a local path (./a:b where it has a colon). A target
    that is a directory, or ends with a slash, receives the source under its own name.
    """
    there, here = _split(source), _split(target)
    if (there is None) == (here is None):
        raise typer.BadParameter("exactly one of the two must be SANDBOX:PATH")
    with connect(context) as atoll:
        if here is not None:
            name, path = here
            entries = _put(atoll.sandboxes.get(name).files, Path(source), path)
            left_out: tuple[str, ...] = ()
        else:
            name, path = there or ("", "")
            entries, left_out = _fetch(atoll.sandboxes.get(name).files, path, target)
    if json_:
        show.as_json({"entries": entries, "left_out": list(left_out)})
    for each in left_out:
        sys.stderr.write(f"atoll: left out, since it leads elsewhere or is no file: {each}\n")


def _split(place: str) -> tuple[str, str] | None:
    name, colon, path = place.partition(":")
    if not colon or not name or "/" in name or name.startswith("."):
        return None
    return name, path or "."


def _put(files: "Files", local: Path, path: str) -> int:
    if not local.exists():
        raise typer.BadParameter(f"{local} does not exist")
    if path.endswith("/") or _is_directory(files, path):
        path = f"{path.rstrip('/') or '/'}/{local.resolve().name}".replace("//", "/")
    if local.is_dir():
        from atoll.client.trees import total_bytes

        with _bar(f"{local}", total_bytes(local)) as progress:
            return files.upload_dir(local, path, progress=progress)
    mode = local.stat().st_mode & 0o777
    with _bar(f"{local}", local.stat().st_size) as progress:
        files.upload(local, path, mode=mode, progress=progress)
    return 1


def _fetch(files: "Files", path: str, target: str) -> tuple[int, tuple[str, ...]]:
    found = files.stat(path)
    local = Path(target)
    name = PurePosixPath(path).name
    if (local.is_dir() or target.endswith("/")) and name:
        local.mkdir(parents=True, exist_ok=True)
        local /= name
    if found.kind == "directory":
        with _bar(path, None) as progress:
            done = files.download_dir(path, local, progress=progress)
        return done.entries, done.left_out
    with _bar(path, found.size) as progress:
        files.download(path, local, progress=progress)
    return 1, ()


def _is_directory(files: "Files", path: str) -> bool:
    from atoll.client import NotFound

    try:
        return files.stat(path).kind == "directory"
    except NotFound:
        return False


@contextmanager
def _bar(what: str, total: int | None) -> Generator[Progress | None]:
    """A progress bar where somebody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(what), total=total)
        yield lambda count: bar.advance(task, count)
