"""A server with the fake backend, as a program: prints its greeting, ends at SIGTERM.

Run by tests that need a server in another process than their own.
"""

import sys
from pathlib import Path

import anyio

from atoll.backends.fake import FakeBackend
from atoll.bootstrap import build
from atoll.http.app import create_app
from atoll.http.runner import bind, run_server
from atoll.settings import load


async def main(data_dir: str) -> None:
    settings = load({"data_dir": Path(data_dir), "drain_s": 1}, environ={})
    with bind("127.0.0.1", 0) as sockets:
        async with build(settings, backends=[FakeBackend()]) as services:
            await run_server(create_app(services, settings), settings, sockets)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
