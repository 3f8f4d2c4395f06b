"""`/run/secrets` of a sandbox that keeps its files."""

from dataclasses import replace

import pytest

from atoll.core.errors import NotFound
from atoll.core.ports import Backend
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import fresh, read, run, script

_PLACE = "/run/secrets/token"


class SecretFileCases(Cases):
    """What is in there is gone when the sandbox is closed."""

    @needs("secret_files", "shell", "snapshots")
    @pytest.mark.parametrize("read_only", [False, True])
    async def test_secret_files_do_not_stay(self, backend: Backend, *, read_only: bool) -> None:
        spec = replace(fresh(), persistent=True, read_only_root=read_only)
        told = replace(
            script(f"cp {_PLACE} /run/copy; cat {_PLACE}; chmod 400 {_PLACE}"),
            files={_PLACE: b"hush", "/run/plain": b"kept"},
        )
        try:
            async with backend.open(spec) as box:
                assert (await run(box, told)).stdout == b"hush"
            async with backend.open(spec) as box:
                with pytest.raises(NotFound):
                    await read(box.files, _PLACE)
                assert await read(box.files, "/run/copy") == b"hush", "what it copies is its own"
                assert await read(box.files, "/run/plain") == b"kept"
        finally:
            await backend.destroy(spec.id)

    @needs("secret_files", "shell")
    async def test_nothing_planted_there_leads_to_the_disk(self, backend: Backend) -> None:
        spec = replace(fresh(), persistent=True)
        try:
            async with backend.open(spec) as box:
                planted = script("umount /run/secrets; mv /run /was && ln -s /workspace /run")
                done = await run(box, planted)
            async with backend.open(spec) as box:
                told = replace(script(f"cat {_PLACE}"), files={_PLACE: b"hush"})
                assert (await run(box, told)).stdout == b"hush", done
                with pytest.raises(NotFound):
                    await read(box.files, "/workspace/secrets/token")
        finally:
            await backend.destroy(spec.id)
