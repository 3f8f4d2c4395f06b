"""A secret is in nothing that a real server leaves behind."""

import signal
from pathlib import Path

import pytest

from atoll.client import Atoll, Conflict
from tests.e2e.server import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.needs("userns")]

SECRET = "swordfish-4711-do-not-tell"
PLAIN = "common-knowledge-0815"


def _holding(data: Path, value: str) -> list[str]:
    raw = value.encode()
    files = [path for path in data.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if raw in path.read_bytes())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_on_disk_holds_it(tmp_path: Path, number: int) -> None:
    data = tmp_path / "data"
    quiet = "test $TOKEN = $SAME -a ${#TOKEN} = 26 -a $(cat /run/secrets/key) = $TOKEN"
    config = tmp_path / "atoll.toml"
    config.write_text('log_level = "debug"\naccess_log = true\n')
    with serving(data, "--config", str(config)) as server, Atoll(server.url) as atoll:
        secrets = {"TOKEN": SECRET, "SAME": SECRET, "/run/secrets/key": SECRET}
        box = atoll.sandboxes.create(name="box", secrets=secrets, env={"PLAIN": PLAIN})
        assert box.exec(quiet).exit.exit_code == 0, "the program has it"
        assert box.exec("test $MORE = $TOKEN", secrets={"MORE": SECRET}).exit.exit_code == 0
        box.processes.start(f"{quiet}; sleep 60")
        assert atoll.run(quiet, secrets=secrets).exit.exit_code == 0
        box.snapshot(name="frozen", force=True)
        box.fork(name="twin")
        box.exec(quiet)
        atoll.sandboxes.create(name="ended", secrets=secrets).destroy()
        server.stop(number)
        printed = server.printed.read_bytes()
    assert _holding(data, PLAIN), "what is no secret is found the same way"
    assert _holding(data, SECRET) == []
    assert SECRET.encode() not in printed
    with serving(data) as server, Atoll(server.url) as atoll:
        box = atoll.sandboxes.get("box")
        assert sorted(box.info.secrets) == ["/run/secrets/key", "SAME", "TOKEN"]
        with pytest.raises(Conflict, match="were lost"):
            box.exec(quiet)
        box.update(secrets=secrets)
        assert box.exec(quiet).exit.exit_code == 0
        with atoll.sandboxes.create(base="frozen") as begun:
            empty = begun.exec("test -z $TOKEN && ls -A /run/secrets")
            assert (empty.exit.exit_code, empty.stdout) == (0, "")
