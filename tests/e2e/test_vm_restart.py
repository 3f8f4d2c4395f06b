"""A server that is killed amid VMs: each is as before or as after, and nothing is left over."""

import contextlib
import io
import os
import random
import shutil
import signal
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e import leftovers
from tests.e2e.server import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.needs("userns")]
ROOT = "/run-dat-sheesh/v1/vms"
VM = {"cpu": 1, "memMb": 128, "allowIps": []}
KILLS = 4
FILES = 40


def archive(version: int) -> bytes:
    """Many files that say the same, and a few of a size."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for number in range(FILES):
            data = f"{version}\n".encode() * (20_000 if number % 10 == 0 else 1)
            info = tarfile.TarInfo(f"{number:03}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


ARCHIVES = [archive(version) for version in range(3)]


class World:
    """What clients know for sure of each VM, at the moment at which the server is killed."""

    def __init__(self) -> None:
        self.versions: dict[str, set[int]] = {}
        self.states: dict[str, set[str]] = {}
        self.lock = threading.Lock()

    def work(self, url: str, seed: int) -> None:
        """Create, upload, stop, start, snapshot, until the server is no more."""
        chance = random.Random(seed)
        with contextlib.suppress(httpx.HTTPError), httpx.Client(base_url=url, timeout=30) as client:
            while True:
                made = client.post(ROOT, json=VM)
                if made.status_code != 201:
                    time.sleep(0.05)  # waits on purpose: the quota is used up
                    continue
                vm = made.json()["id"]
                self.versions[vm], self.states[vm] = {-1}, {"RUNNING"}
                for _ in range(4):
                    self.upload(client, vm, chance.randrange(3))
                    self.turn(client, vm)
                if chance.random() < 0.5:
                    client.post(f"{ROOT}/{vm}/snapshots").raise_for_status()

    def upload(self, client: httpx.Client, vm: str, version: int) -> None:
        self.versions[vm] |= {version}
        url = f"{ROOT}/{vm}/files/upload?dest=in"
        client.post(url, content=ARCHIVES[version]).raise_for_status()
        self.versions[vm] = {version}

    def turn(self, client: httpx.Client, vm: str) -> None:
        for act, state in (("stop", "STOPPED"), ("start", "RUNNING")):
            self.states[vm] |= {state}
            client.post(f"{ROOT}/{vm}/{act}").raise_for_status()
            self.states[vm] = {state}


def checked(client: httpx.Client, world: World) -> int:
    """How many VMs there are; each as some client may expect it."""
    found: list[dict[str, Any]] = client.get(ROOT).raise_for_status().json()
    for each in found:
        vm = each["id"]
        assert each["state"] in world.states.get(vm, {"RUNNING"}), each
        if each["state"] == "STOPPED":
            client.post(f"{ROOT}/{vm}/start").raise_for_status()
        world.states[vm] = {"RUNNING"}
        body = {
            "cmd": "ls -A | grep -v '^in$'; ls in 2>/dev/null | wc -l; sort -u in/* 2>/dev/null"
        }
        said = client.post(f"{ROOT}/{vm}/exec", json=body).raise_for_status().json()
        count, *versions = said["stdout"].split()
        seen = {int(version) for version in versions} or {-1}
        known = world.versions.setdefault(vm, {-1})
        assert int(count) in ({FILES} if seen != {-1} else {0}), said
        # Whoever was uploading when the server was killed had all of it, or what was before.
        assert len(seen) == 1, (said, known)
        assert seen <= known, (said, known)
        world.versions[vm] = seen
    assert {vm for vm in world.states if world.states[vm]} <= {each["id"] for each in found}
    return len(found)


def test_killed_again_and_again(tmp_path: Path) -> None:
    data, world, config = tmp_path / "data", World(), tmp_path / "atoll.toml"
    networked = os.geteuid() == 0 and shutil.which("nft") is not None
    config.write_text('network_modes = ["none", "allow"]\n' if networked else "")
    flags = ["--config", str(config)]
    for option in ("rate_limits=false", "max_vms=12"):
        flags += ["--dialect-option", f"run-dat-sheesh.{option}"]
    mounts, pids = leftovers.mounts(), set[int]()
    for turn in range(KILLS):
        with serving(data, *flags) as server, ThreadPoolExecutor(3) as threads:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                checked(client, world)
            work = [threads.submit(world.work, server.url, 10 * turn + n) for n in range(3)]
            time.sleep(0.3 + 0.35 * turn)  # waits on purpose: to be killed amid work
            pids |= leftovers.descendants(server.process.pid)
            server.stop(signal.SIGKILL)
            for each in work:
                each.result(30)
        leftovers.wait_until_gone(pids)
    with serving(data, *flags) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        assert checked(client, world) > 0
        for each in client.get(ROOT).json():
            client.delete(f"{ROOT}/{each['id']}").raise_for_status()
        pids |= leftovers.descendants(server.process.pid)
        assert server.stop(signal.SIGTERM) == 0
    leftovers.check_ended(data, pids, mounts)
    if networked:
        assert leftovers.of_networks(data) == []
