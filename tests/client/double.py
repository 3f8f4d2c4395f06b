"""A server in memory for the client's tests: answers by rule, remembers what it was asked."""

import json
from collections.abc import AsyncIterator, Callable, Iterator

import httpx

from atoll.client import AsyncAtoll, Atoll, Retry

Answer = Callable[[httpx.Request], httpx.Response]
FAST = Retry(attempts=4, first_s=0.0001)


class Double:
    """Answers with the next of its answers; the last one stays."""

    def __init__(self, *answers: httpx.Response | Exception | Answer) -> None:
        self._answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self.answer(request)

    async def later(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self.answer(request)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, httpx.Response):
            return answer(request)
        if isinstance(answer.stream, Chunks):
            return answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def client(self, api_key: str | None = None) -> Atoll:
        return Atoll("http://double", api_key, retry=FAST, transport=httpx.MockTransport(self))

    def async_client(self) -> AsyncAtoll:
        return AsyncAtoll("http://double", retry=FAST, transport=httpx.MockTransport(self.later))

    def body(self, index: int = -1) -> object:
        return json.loads(self.asked[index].content)


class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in given pieces, that may break at its end."""

    def __init__(self, *chunks: bytes, broken: bool = False) -> None:
        self._chunks = chunks
        self._broken = broken
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._broken:
            raise httpx.ReadError("the line broke")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._broken:
            raise httpx.ReadError("the line broke")

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def problem(status: int, code: str, **more: object) -> httpx.Response:
    document = {"status": status, "code": code, "detail": f"It is {code}.", **more}
    return httpx.Response(status, json=document)


def event(name: str, data: object, at: int) -> bytes:
    return f"id: {at}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()


RESULT = {
    "id": "sb_1",
    "exit_code": 0,
    "reason": "exited",
    "signal": None,
    "truncated": False,
    "stdout": "Mgo=",
    "stderr": "",
    "encoding": "base64",
    "timings": {"total_ms": 1.5},
    "usage": {"wall_s": 0.1, "cpu_s": 0.05, "peak_memory_bytes": 4096},
    "backend": "namespace",
}
SANDBOX = {
    "id": "sb_1",
    "name": "notes",
    "state": "running",
    "backend": "namespace",
    "image": "host",
    "profile": "moderate",
    "limits": {"memory_bytes": 1024, "cpus": 0.5},
    "network": {"mode": "none", "allow": [], "deny": []},
    "env": {},
    "labels": {"team": "blue"},
    "base": None,
    "created_at": 1.0,
    "last_used_at": 2.0,
    "idle_timeout_s": None,
    "expires_at": None,
    "version": 1,
}
PROCESS = {
    "pid": 3,
    "sandbox_id": "sb_1",
    "argv": ["sh"],
    "cwd": "/workspace",
    "tty": False,
    "background": True,
    "started_at": 1.0,
    "ended_at": None,
    "exit": None,
}
EXIT = {"exit_code": 0, "reason": "exited", "signal": None, "truncated": False, "usage": {}}
