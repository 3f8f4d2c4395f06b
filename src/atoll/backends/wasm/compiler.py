"""Compile modules in workers of their own, once each, and keep the code.

The compiler reads hostile bytes, so it runs in a sandbox that is used for nothing else. What it
makes is stored under the digest that we took of the module: one that broke out of the compiler
could spoil the code of that very module only.
"""

import json
from typing import cast

import anyio
from anyio import to_thread

from atoll.backends.wasm.cache import Cache, digest
from atoll.core.errors import AtollError, BackendFault, InvalidRequest, TooLarge, Unavailable
from atoll.core.model import MIB, ExitReason, Limits, ProcessSpec, SandboxSpec
from atoll.core.ports import Backend, Sandbox

RUNNER = "/opt/atoll/bin/atoll-wasm"
OURS = "wasm-"
"""How the ids of sandboxes begin that are no client's."""
WALL_S = 120.0
CODE_MAX = 512 * MIB
_AT_ONCE = 2
_MODULE, _CODE, _REPORT = "/workspace/module", "/workspace/code", "/workspace/report"


class Compiler:
    """From a module's bytes to the path of its code. Many may ask for the same at once."""

    def __init__(self, workers: Backend, cache: Cache) -> None:
        self._workers = workers
        self._cache = cache
        self._slots = anyio.Semaphore(_AT_ONCE)
        self._locks: dict[str, tuple[anyio.Lock, int]] = {}
        self._number = 0

    async def code(self, data: bytes, *, fuel: bool) -> str:
        """The path beneath the cache's root. Raises `InvalidRequest` for what is no module."""
        name = await to_thread.run_sync(digest, data) if len(data) > MIB else digest(data)
        return await self.named(name, data, fuel=fuel)

    async def named(self, name: str, data: bytes, *, fuel: bool) -> str:
        """The same where the digest is known already."""
        variant = "fuel" if fuel else "plain"
        found = self._cache.known(name, variant)
        if found is not None:
            return found
        key = f"{name}-{variant}"
        lock, waiting = self._locks.get(key, (anyio.Lock(), 0))
        self._locks[key] = (lock, waiting + 1)
        try:
            async with lock:
                found = await to_thread.run_sync(self._cache.find, name, variant)
                if found is None:
                    async with self._slots:
                        code = await self._compiled(data, fuel=fuel)
                    found = await to_thread.run_sync(self._cache.store, name, variant, code)
                return found
        finally:
            lock, waiting = self._locks[key]
            if waiting == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, waiting - 1)

    async def _compiled(self, data: bytes, *, fuel: bool) -> bytes:
        self._number += 1
        limits = Limits(
            memory_bytes=2048 * MIB, cpus=2.0, processes=64, disk_bytes=1024 * MIB, disk_files=64
        )
        spec = SandboxSpec(f"{OURS}compiler-{self._number}", limits=limits)
        argv = [RUNNER, "--compile", _CODE, "--report", _REPORT]
        argv += [*(["--fuel", "1"] if fuel else []), _MODULE]
        async with self._workers.open(spec) as box:
            await box.files.write(_MODULE, data)
            process = await box.start(
                ProcessSpec(tuple(argv), wall_s=WALL_S, cpu_s=2 * WALL_S, output_bytes=MIB)
            )
            said = b"".join([chunk async for _, chunk in process.output()])
            ended = await process.wait()
            if ended.code == 0:
                return await _read(box, _CODE, CODE_MAX)
            if ended.reason in (ExitReason.WALL_TIME, ExitReason.CPU_TIME, ExitReason.MEMORY):
                raise InvalidRequest(
                    f"The module could not be compiled: {ended.reason} limit.", field="argv"
                )
            raise await _refusal(box, said)


async def _refusal(box: Sandbox, said: bytes) -> AtollError:
    try:
        report = json.loads(await _read(box, _REPORT, MIB))
        return InvalidRequest(str(cast("dict[str, object]", report)["detail"]), field="argv")
    except (AtollError, ValueError, KeyError, TypeError):
        text = said.decode("utf-8", "replace").strip()[-500:]
        if "No module named 'wasmtime'" in text:
            return Unavailable("wasmtime is not installed: pip install 'atoll[wasm]'")
        return BackendFault(f"The compiler failed: {text or 'without a word'}")


async def _read(box: Sandbox, path: str, most: int) -> bytes:
    data = bytearray()
    async for block in box.files.read(path):
        data += block
        if len(data) > most:
            raise TooLarge(f"The compiled code is over {most // MIB} MiB.", limit=most)
    return bytes(data)
