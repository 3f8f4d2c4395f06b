"""Kept sandboxes whose files are put away: the upper layer as one compressed tar.

    packs/<sandbox id>.tar.gz    what its record says that it is, with `packed`
    packs/<random>.part          one that is being made

GNU tar does it, with what overlayfs writes beside files: whiteouts are devices, and what hides a
lower directory is an attribute. Its input is a tree at rest and its own output, in places that
only the server can reach.
"""

import anyio
from anyio import to_thread

from atoll.backends.namespace.disk import Disk
from atoll.jail.host import tool

DEADLINE_S = 900.0
_EXACT = ("--xattrs", "--xattrs-include=user.*", "--numeric-owner")


async def packed(disk: Disk, sandbox_id: str) -> str:
    """Make a pack of its files; the pack's name. `NotFound`, `ToolFailed` when tar cannot."""
    tar = await tool.need("tar", "tar")
    files, pack = await to_thread.run_sync(disk.to_pack, sandbox_id)
    argv = [tar, "--create", f"--file={pack}", "--use-compress-program=gzip -1", "--sparse"]
    argv += [*_EXACT, f"--directory={files}", "."]
    try:
        async with tool.running(argv, deadline_s=DEADLINE_S):
            pass
    except BaseException:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(disk.drop_pack, pack.name)
        raise
    return pack.name


async def unpacked(disk: Disk, sandbox_id: str, layer: str) -> None:
    """Fill a new layer with its files."""
    tar = await tool.need("tar", "tar")
    pack, files = disk.pack_of(sandbox_id), disk.files_of(layer)
    argv = [tar, "--extract", "--gzip", f"--file={pack}", "--preserve-permissions"]
    argv += [*_EXACT, f"--directory={files}"]
    async with tool.running(argv, deadline_s=DEADLINE_S):
        pass
