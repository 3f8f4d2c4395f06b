"""What the server says of the audit log's file, and that it works without it."""

import json
from pathlib import Path

import anyio
import pytest

from tests.http.rig import served

pytestmark = pytest.mark.anyio


async def test_events_are_in_the_file_with_the_hashes_that_the_api_shows(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    async with served(audit_file=path) as web:
        await web.client.post("/v1/run", json={"argv": ["true"]})
        await web.services.audit.flush()
        (told,) = (await web.client.get("/v1/events?action=run")).json()["items"]
        assert (await web.client.get("/readyz")).json()["checks"]["audit_file"] == "ok"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    (written,) = [line for line in lines if line["action"] == "run"]
    del written["follows"], written["link"]
    assert written == told


async def test_a_file_that_fails_stops_nothing_and_is_told(tmp_path: Path) -> None:
    async with served(audit_file=tmp_path / "none" / "audit.jsonl") as web:
        journal = web.services.audit.journal
        assert journal is not None
        with anyio.fail_after(20):
            while journal.failure is None:
                await anyio.sleep(0.01)  # waits on purpose: the file's own task tries it
        answer = await web.client.post("/v1/run", json={"argv": ["echo", "hi"]})
        assert answer.json()["stdout"] == "hi\n"
        await web.services.audit.flush()
        ready = await web.client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["status"] == "ok"
        assert ready.json()["checks"]["audit_file"] == "No such file or directory"
        numbers = (await web.client.get("/metrics")).text
        assert "atoll_audit_file_failing 1.0" in numbers
        assert "atoll_audit_file_lost 0.0" in numbers
        assert len((await web.client.get("/v1/events?action=run")).json()["items"]) == 1
