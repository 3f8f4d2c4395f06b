"""200 sessions of the wasmrun dialect, and 16 clients that run modules in them for some minutes.

    .venv/bin/python scripts/soak_wasmrun.py --minutes 5

Counts and ends as soak.py does.
"""

import asyncio
import base64
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.soak import soak

SESSIONS = 200
CLIENTS = 16
EMPTY = bytes.fromhex("0061736d0100000001040160000003020100070a01065f7374617274 00000a040102000b")
TEXT = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\06\\00\\00\\00hello\\n")
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "boom") unreachable)
  (func (export "spin") (loop $l (br $l)))
  (func (export "grow") (loop $l (br_if $l (i32.ne (memory.grow (i32.const 9)) (i32.const -1))))
    unreachable)
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))"""


@dataclass
class Worker:
    """One client, and the sessions that are its own."""

    http: httpx.AsyncClient
    chance: random.Random
    sessions: list[str] = field(default_factory=list[str])

    async def post(self, path: str, body: object = None, status: int = 200) -> Any:  # noqa: ANN401
        """Send it; what is answered."""
        answer = await self.http.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def exec(self, **body: object) -> Any:  # noqa: ANN401
        """Execute in any of its sessions."""
        return await self.post(f"/sessions/{self.chance.choice(self.sessions)}/exec", body)

    async def begin(self) -> None:
        """One more session, with both modules in it."""
        name = (await self.post("/sessions", {"limits": {"max_memory_mb": 32}}))["session_id"]
        self.sessions.append(name)
        binary = base64.b64encode(EMPTY).decode()
        for body in ({"path": "empty.wasm", "content": binary, "encoding": "base64"},
                     {"path": "m.wat", "content": TEXT}):  # fmt: skip
            await self.post(f"/sessions/{name}/files", body)

    async def end(self, name: str) -> None:
        """One less."""
        self.sessions.remove(name)
        answer = await self.http.delete(f"/sessions/{name}")
        assert answer.status_code == 200, answer.text


async def binary(worker: Worker) -> None:
    """The smallest module."""
    found = await worker.exec(wasm_path="empty.wasm")
    assert (found["exit_code"], found.get("error")) == (0, None), found


async def printing(worker: Worker) -> None:
    """A module in its text form that prints."""
    found = await worker.exec(wasm_path="m.wat")
    assert (found["stdout"], found["exit_code"]) == ("hello\n", 0), found


async def function(worker: Worker) -> None:
    """A function with arguments and a result."""
    number = worker.chance.randrange(1000)
    found = await worker.exec(wasm_path="m.wat", function="add", args=[str(number), "1"])
    assert found["results"] == [number + 1], found


async def failing(worker: Worker) -> None:
    """A module that traps, takes all memory, or does not end."""
    name, error = worker.chance.choice(
        [("boom", "trap"), ("grow", "Memory limit"), ("spin", "timed out")]
    )
    found = await worker.exec(wasm_path="m.wat", function=name, timeout=1)
    assert found["exit_code"] == -1, found
    assert error in found["error"] or "timed out" in found["error"], found


async def files(worker: Worker) -> None:
    """A file, through the API and through the shell."""
    name, text = worker.chance.choice(worker.sessions), str(worker.chance.random())
    await worker.post(f"/sessions/{name}/files", {"path": "d/f", "content": text})
    found = await worker.post(f"/sessions/{name}/exec", {"command": "cat d/f && rm -r d"})
    assert found["stdout"] == text, found


async def script(worker: Worker) -> None:
    """JavaScript, or Python, in the same sessions."""
    source, language = worker.chance.choice(
        [("console.log(6 * 7)", "javascript"), ("print(6 * 7)", "python")]
    )
    found = await worker.exec(source=source, language=language, timeout=60)
    assert found["stdout"] == "42\n", found


async def streamed(worker: Worker) -> None:
    """A stream; of every other one the client leaves before its end."""
    name = worker.chance.choice(worker.sessions)
    body = {"wasm_path": "m.wat", "stream": True}
    leaving = worker.chance.random() < 0.5
    if leaving:
        body |= {"function": "spin"}
    async with worker.http.stream("POST", f"/sessions/{name}/exec", json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        if not leaving:
            text = "".join([line async for line in answer.aiter_lines()])
            assert text.count("event: result") == 1, text
            assert "hello" in text, text


async def renewed(worker: Worker) -> None:
    """A session is ended, and another takes its place."""
    await worker.end(worker.chance.choice(worker.sessions))
    await worker.begin()


JOBS = (
    (binary, 30), (printing, 25), (function, 20), (failing, 3), (files, 8), (script, 4),
    (streamed, 6), (renewed, 4),
)  # fmt: skip


async def client(url: str, until: float, seed: int, counts: Counter[str]) -> None:
    """One client, with its part of the sessions; none is left when the time is over."""
    jobs, weights = zip(*JOBS, strict=True)
    base = f"{url}/wasmrun/api/v1"
    async with httpx.AsyncClient(base_url=base, timeout=httpx.Timeout(120.0)) as http:
        worker = Worker(http, random.Random(seed))
        for _ in range(SESSIONS // CLIENTS + (seed < SESSIONS % CLIENTS)):
            await worker.begin()
        while time.monotonic() < until:
            job = worker.chance.choices(jobs, weights)[0]
            try:
                await job(worker)
                counts[job.__name__] += 1
            except Exception as error:  # noqa: BLE001 (each failure is counted and shown)
                counts["errors"] += 1
                if counts["errors"] <= 20:
                    text = f"{type(error).__name__}: {str(error)[:300]}"
                    print(f"{job.__name__}: {text}", flush=True)
        async with asyncio.TaskGroup() as tasks:
            for name in list(worker.sessions):
                tasks.create_task(worker.end(name))


if __name__ == "__main__":
    flags = ("--dialect-option", f"wasmrun.max_sessions={SESSIONS + CLIENTS}")
    sys.exit(soak(client, __doc__ or "", *flags, minutes=5, clients=CLIENTS))
