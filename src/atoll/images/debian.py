"""Images made of Debian packages, by mmdebstrap, from wherever the host's own apt gets them."""

from collections.abc import Mapping
from pathlib import Path

import anyio
from anyio import to_thread

from atoll.core.errors import QuotaExceeded, Unavailable
from atoll.core.images import Image, Progress
from atoll.images.loading import lay
from atoll.images.oci import Told
from atoll.images.store import ImageStore, making
from atoll.images.table import Rule
from atoll.jail.host import tool

BUILD_S = 3600.0
_LOOK_S = 0.2
_STEP = 1024 * 1024
# Packages say nothing of how they want to be run.
_ABOUT: Mapping[str, object] = {}
_APT = Path("/etc/apt")
_RELEASE = Path("/etc/os-release")


async def build(store: ImageStore, name: str, rule: Rule, told: Told) -> Image:
    """An image of a minimal system and the rule's packages, in the store as `name`."""
    program = await tool.need("mmdebstrap", "mmdebstrap")
    suite = rule.suite or await to_thread.run_sync(_own_suite)
    async with making(store) as place:
        budget = await to_thread.run_sync(store.budget)
        archive = place / "root.tar"
        argv = [
            program, "--quiet", f"--variant={'extract' if rule.bare else 'apt'}", "--format=tar",
            # What a sandbox has no use for.
            "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
            *(f"--include={each}" for each in rule.packages),
            *await to_thread.run_sync(_configured),
            suite, str(archive), *await to_thread.run_sync(_sources),
        ]  # fmt: skip
        async with tool.running(argv, deadline_s=BUILD_S) as process:
            while process.returncode is None:
                with anyio.move_on_after(_LOOK_S):
                    await process.wait()
                size = await to_thread.run_sync(_size, archive)
                told(Progress("building", size, f"{suite} {' '.join(rule.packages)}".strip()))
                if size > budget.bytes:
                    raise QuotaExceeded(f"The image is larger than the {budget.bytes} bytes left.")
        told(Progress("unpacking"))
        digest = await to_thread.run_sync(lay, store, archive, place / "root", budget)
        source = f"debian {suite} {' '.join(rule.packages)}".strip()
        return await to_thread.run_sync(store.add, name, source, [digest], _ABOUT)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sources() -> list[str]:
    """The files in which apt's sources are."""
    found = [_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*.list"))]
    found += sorted((_APT / "sources.list.d").glob("*.sources"))
    files = [str(path) for path in found if path.is_file()]
    if not files:
        raise Unavailable("apt has no sources on this host: there is nothing in /etc/apt.")
    return files


def _configured() -> list[str]:
    """How the host's apt reaches its sources: proxies, certificates, methods."""
    return [f"--aptopt={_APT / 'apt.conf'}"] if (_APT / "apt.conf").is_file() else []


def _own_suite() -> str:
    """The host's own release."""
    for line in _RELEASE.read_text("utf-8").splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise Unavailable("This host does not say its Debian release: name a suite in the table.")
