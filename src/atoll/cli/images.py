"""`atoll images …`: what sandboxes are made of, beside a running server or without one."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from atoll.cli import show
from atoll.cli.options import Json
from atoll.cli.outcome import FAILED

if TYPE_CHECKING:
    from atoll.core.images import Image, Progress
    from atoll.images.catalog import ImageCatalog
    from atoll.settings import Settings

WASM = "wasm"
_T = TypeVar("_T")

DataDir = Annotated[Path | None, typer.Option(help="The server's data directory.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file of settings.")]


def add_to(app: typer.Typer) -> None:
    """Declare the commands."""
    group = typer.Typer(help="What sandboxes are made of.", no_args_is_help=True)
    group.command("list")(list_all)
    group.command()(pull)
    group.command()(build)
    group.command()(rm)
    group.command()(gc)
    app.add_typer(group, name="images")


def list_all(data_dir: DataDir = None, config: Config = None, json_: Json = False) -> None:
    """List the images; `host`, the host's own files, is always there."""

    async def main(_: "Settings", images: "ImageCatalog") -> list[dict[str, object]]:
        return [
            {
                "names": list(each.names),
                "digest": f"sha256:{each.digest}",
                "size_bytes": each.size_bytes,
                "source": each.source,
            }
            for each in await images.list()
        ]

    found = _with_images(data_dir, config, main)
    if json_:
        show.as_json(found)
        return
    for each in found:
        names = ", ".join(map(str, each["names"])) or "(no name)"  # type: ignore[call-overload]
        size = int(str(each["size_bytes"])) / 1e6
        sys.stdout.write(f"{names}  {str(each['digest'])[:19]}  {size:.1f} MB\n")


def pull(
    name: Annotated[str, typer.Argument(help="`wasm`, or the name of an image.")],
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Pull an image from its registry, or build it; `wasm` compiles that backend's languages."""
    if name == WASM:
        from atoll import bootstrap

        raise typer.Exit(bootstrap.pull_wasm(_settings(data_dir, config)))

    async def main(_: "Settings", images: "ImageCatalog") -> "Image":
        return await images.pull(name, _Line().told)

    _made(_with_images(data_dir, config, main))


def build(
    name: Annotated[str, typer.Argument(help="The name that the image gets.")],
    packages: Annotated[list[str], typer.Argument(help="Debian packages.")],
    suite: Annotated[str, typer.Option(help="A Debian release; the host's own unless given.")] = "",
    bare: Annotated[bool, typer.Option(help="Their files alone, no system around.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Build an image from Debian packages, with the host's own apt sources."""

    async def main(_: "Settings", images: "ImageCatalog") -> "Image":
        return await images.build(name, packages, _Line().told, suite=suite, bare=bare)

    _made(_with_images(data_dir, config, main))


class _Line:
    """Progress on stderr: one line that changes on a terminal, a line for each stage elsewhere."""

    def __init__(self) -> None:
        self._last = ""

    def told(self, progress: "Progress") -> None:
        """Show it."""
        line = f"{progress.stage} {progress.detail}".strip()
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{line} {progress.bytes / 1e6:.1f} MB")
        elif line != self._last:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        self._last = line


def _made(image: "Image") -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    sys.stdout.write(f"{', '.join(image.names)}  sha256:{image.digest}\n")


def rm(
    name: Annotated[str, typer.Argument(help="The name of an image.")],
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Forget a name; `atoll images gc` frees the space."""

    async def main(_: "Settings", images: "ImageCatalog") -> None:
        await images.remove(name)

    _with_images(data_dir, config, main)


def gc(data_dir: DataDir = None, config: Config = None) -> None:
    """Remove the images that no name, sandbox or snapshot needs, and what pulls have left."""
    from atoll.bootstrap_images import collect_images

    done = _with_images(data_dir, config, collect_images)
    sys.stdout.write(
        f"{len(done.images)} images, {done.layers} layers and {done.blobs} blobs removed, "
        f"{done.freed_bytes / 1e6:.1f} MB\n"
    )


def _settings(data_dir: Path | None, config: Path | None) -> "Settings":
    from atoll import settings

    try:
        return settings.load({"data_dir": data_dir}, config)
    except settings.SettingsError as failed:
        _fail(*failed.problems)


def _with_images(
    data_dir: Path | None,
    config: Path | None,
    main: Callable[["Settings", "ImageCatalog"], Awaitable[_T]],
) -> _T:
    """What `main` gives; what goes wrong ends the command."""
    import anyio

    from atoll.bootstrap_images import image_catalog
    from atoll.core.errors import AtollError
    from atoll.settings import SettingsError

    chosen = _settings(data_dir, config)
    try:
        return anyio.run(main, chosen, image_catalog(chosen))
    except SettingsError as failed:
        _fail(*failed.problems)
    except AtollError as failed:
        _fail(failed.detail)


def _fail(*problems: str) -> NoReturn:
    for problem in problems:
        sys.stderr.write(f"atoll: {problem}\n")
    raise typer.Exit(FAILED)
