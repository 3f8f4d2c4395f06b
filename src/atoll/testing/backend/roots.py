"""`SandboxSpec.read_only_root`."""

from dataclasses import replace

import pytest

from atoll.core.ports import Backend
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import fresh, run, script

_OWN = ("/workspace", "/tmp", "/var/tmp", "/run", "/home/user", "/dev/shm")


class RootCases(Cases):
    """What a program may write to, beside the sandbox's own directories."""

    @needs("read_only_root", "shell")
    @pytest.mark.parametrize("persistent", [False, True])
    async def test_only_its_own_directories_are_written(
        self, backend: Backend, *, persistent: bool
    ) -> None:
        spec = replace(fresh(), persistent=persistent, read_only_root=True)
        places = " ".join(_OWN)
        lines = (
            f"for d in {places}; do echo x > $d/mine || exit 1; done",
            "for d in / /opt /etc /usr /var /mnt; do echo x 2>/dev/null > $d/mine && exit 2; done",
            "exit 0",
        )
        try:
            async with backend.open(spec) as box:
                ended = await run(box, script("\n".join(lines)))
            assert ended.exit.code == 0, ended
        finally:
            await backend.destroy(spec.id)

    @needs("read_only_root", "shell", "snapshots")
    async def test_a_planted_link_leads_nowhere(self, backend: Backend) -> None:
        spec = replace(fresh(), persistent=True)
        try:
            async with backend.open(spec) as box:
                planted = await run(box, script("rm -rf /tmp && ln -s /mnt /tmp"))
            assert planted.exit.code == 0, "The same act succeeds where the root may be written."
            async with backend.open(replace(spec, read_only_root=True)) as box:
                ended = await run(box, script("ls -A /mnt; echo x > /tmp/mine || echo refused"))
            assert ended.stdout == b"refused\n"
        finally:
            await backend.destroy(spec.id)
