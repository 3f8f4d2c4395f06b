"""The tenants file: keys, ceilings, rates, and its reload."""

import hashlib
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from atoll.core.errors import Unavailable
from atoll.dialects.wasmrun.tenants import Tenants
from atoll.service.clock import SystemClock
from tests.dialects.wasmrun.rig import Session, speaking_wasmrun

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]
NO = {
    "error": "Unauthorized: missing or invalid API key (expected 'Authorization: Bearer <key>')",
    "code": 401,
}


def _entry(name: str, key: str, more: str = "") -> str:
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f'[[tenants]]\nid = "{name}"\nkey_sha256 = "{digest}"\n{more}\n'


@pytest.mark.parity("tenants.file", "tenants.apart", "errors.401")
async def test_keys_and_the_reload(tmp_path: Path) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text(_entry("one", "k1") + _entry("two", "k2"))
    async with speaking_wasmrun(tmp_path / "data", auth=file) as spoken:
        for key in ("", "nobody", "k1 "):
            async with spoken.of(key) as client:
                answer = await client.get("/sessions")
                expected = 200 if key == "k1 " else 401
                assert answer.status_code == expected, key
                if expected == 401:
                    assert answer.json() == NO
        assert (await spoken.client.get("/sessions")).json() == NO
        assert (await spoken.client.get("/health")).status_code == 200
        assert (await spoken.client.get("/ready")).status_code == 200
        async with spoken.of("k1") as one, spoken.of("k2") as two:
            lower = await one.get("/sessions", headers={"authorization": "bEaReR k1"})
            assert lower.status_code == 200
            made = (await one.post("/sessions")).json()["session_id"]
            for answer in (
                await two.get(f"/sessions/{made}"),
                await two.delete(f"/sessions/{made}"),
                await two.post(f"/sessions/{made}/exec", json={"command": "ls"}),
            ):
                assert answer.json() == {"error": f"Session not found: {made}", "code": 404}
            assert (await two.get("/sessions")).json()["count"] == 0
            assert (await one.get("/sessions")).json()["count"] == 1
            aggregates = (await one.get("/metrics?format=json")).json()
            assert "sessions" not in aggregates
            assert aggregates["exec_rejected_total"]["unauthorized"] == 3

            await anyio.to_thread.run_sync(file.write_text, _entry("one", "k3"))
            spoken.clock.leapt_s += 2
            assert (await one.get("/sessions")).json() == NO
            async with spoken.of("k3") as renewed:
                assert (await renewed.get("/sessions")).json()["count"] == 1
            await anyio.to_thread.run_sync(file.write_text, "not toml [")
            spoken.clock.leapt_s += 2
            async with spoken.of("k3") as renewed:
                assert (await renewed.get("/sessions")).status_code == 200, "the last good one"


@pytest.mark.parity("tenants.rate", "tenants.limits")
async def test_rates_and_ceilings(tmp_path: Path) -> None:
    file = tmp_path / "tenants.toml"
    rates = "[tenants.limits]\nmax_file_size_mb = 1\n[tenants.rate]\nmax_sessions = 1\n"
    rates += "max_concurrent_exec = 1\n"
    slow = "[tenants.rate]\nmax_requests_per_min = 3\n"
    file.write_text(_entry("few", "k1", rates) + _entry("slow", "k2", slow) + _entry("free", "k3"))
    async with speaking_wasmrun(tmp_path / "data", auth=file) as spoken:
        async with spoken.of("k1") as client:
            body = {"limits": {"max_file_size_mb": 50}}
            first = await client.post("/sessions", json=body)
            session = Session(client, first.json()["session_id"])
            full = await client.post("/sessions")
            text = "Rate limit exceeded: tenant session limit reached (1)"
            assert (full.status_code, full.json()["error"]) == (429, text)
            big = await session.write("x", "x" * (1024 * 1024 + 1))
            assert "File size limit exceeded" in big.json()["error"]
            async with anyio.create_task_group() as group:

                async def wait() -> None:
                    source = "import time; time.sleep(30)"
                    await session.exec(source=source, language="python", timeout=1)

                group.start_soon(wait)
                while not spoken.front.services.quotas.in_use("few"):
                    await anyio.sleep(0)
                # Within one session they would wait for each other: another one is needed.
                async with spoken.of("k3") as free:
                    other = (await free.post("/sessions")).json()["session_id"]
                    assert (await Session(free, other).exec(command="pwd"))["exit_code"] == 0
        async with spoken.of("k2") as client:
            codes = [(await client.get("/sessions")).status_code for _ in range(4)]
            assert codes == [200, 200, 200, 429]
            answer = await client.get("/sessions")
            text = "Rate limit exceeded: requests-per-minute exceeded"
            assert answer.json() == {"error": text, "code": 429}
            spoken.clock.leapt_s += 21
            assert (await client.get("/sessions")).status_code == 200


@pytest.mark.parity("tenants.rate")
async def test_executions_of_a_tenant_at_once(tmp_path: Path) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text(_entry("few", "k", "[tenants.rate]\nmax_concurrent_exec = 1\n"))
    async with speaking_wasmrun(tmp_path / "data", auth=file) as spoken, spoken.of("k") as client:
        made = [(await client.post("/sessions")).json()["session_id"] for _ in range(2)]
        one, other = Session(client, made[0]), Session(client, made[1])
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                await one.exec(source="import time; time.sleep(30)", language="python", timeout=1)

            group.start_soon(wait)
            while not spoken.front.services.quotas.in_use("few"):
                await anyio.sleep(0)
            text = "Rate limit exceeded: per-tenant concurrent execution limit reached"
            assert await other.exec(429, command="ls") == {"error": text, "code": 429}
            python = await other.exec(429, source="1", language="python")
            assert python == {"error": text, "code": 429}
        assert (await other.exec(command="pwd"))["stdout"] == "/\n"


@pytest.mark.parity("tenants.hash-key")
@pytest.mark.parametrize(
    "text",
    ["tenants = 3", "[[tenants]]\nid = 'x'", _entry("No Good", "k"), _entry("a", "k") * 2,
     _entry("a", "k", "[tenants.rate]\nwrong = 1"),
     _entry("a", "k", "[tenants.limits]\nwrong = 1"), "[["],
)  # fmt: skip
async def test_files_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text(text)
    with pytest.raises(Unavailable, match="tenants file"):
        await Tenants(file, SystemClock()).load()
    file.write_text(_entry("a", "k"))
    await Tenants(file, SystemClock()).load()
    with pytest.raises(Unavailable, match="cannot be read"):
        await Tenants(tmp_path / "nope", SystemClock()).load()


@pytest.mark.parity("tenants.open", "open-bind")
async def test_without_the_file_the_servers_keys_count(tmp_path: Path) -> None:
    async with speaking_wasmrun(tmp_path, settings={"loopback_without_key": False}) as spoken:
        assert (await spoken.client.get("/sessions")).json() == NO
        assert (await spoken.client.get("/health")).status_code == 200
    async with speaking_wasmrun(tmp_path) as spoken:
        assert (await spoken.client.get("/sessions")).status_code == 200
        page = await spoken.client.get("/sessions", headers={"origin": "https://evil.example"})
        assert page.status_code == 403
        assert page.json()["error"].startswith("Forbidden: ")
        key = (await spoken.native.post("/v1/keys", json={"name": "k", "tenant": "t"})).json()[
            "key"
        ]
        async with spoken.of(key) as client:
            assert (await client.get("/sessions")).json()["count"] == 0
