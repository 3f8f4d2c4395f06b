"""`atoll images`, beside a server or without one."""

from collections.abc import Generator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atoll.cli.commands import app
from tests.images.registry import layout, push, registry
from tests.images.tars import tar

pytestmark = pytest.mark.needs("cmd:skopeo", "cmd:docker-registry")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str, None, None]:
    place = Path(tmp_path_factory.mktemp("registry"))
    with registry(place) as address:
        push(layout(place / "one", [tar(("new", b"new\n"))]), f"{address}/app:1")
        yield address


def test_pull_list_rm_gc(address: str, tmp_path: Path) -> None:
    place = ["--data-dir", str(tmp_path)]

    def atoll(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["images", *words, *place])
        return done.exit_code, done.output

    name = f"{address}/app:1"
    code, said = atoll("pull", name)
    assert code == 0, said
    assert "fetching" in said
    assert f"{name}  sha256:" in said
    assert name in atoll("list")[1]
    assert '"size_bytes"' in atoll("list", "--json")[1]
    assert "0 images, 0 layers" in atoll("gc")[1]
    assert atoll("rm", name)[0] == 0
    assert "1 images, 1 layers" in atoll("gc")[1]
    assert atoll("list") == (0, "")
    for wrong in (("rm", name), ("pull", "app:1"), ("pull", f"{address}/none:1"), ("pull", "-x:")):
        code, said = atoll(*wrong)
        assert code != 0
        assert "Traceback" not in said


@pytest.mark.needs("root", "cmd:mmdebstrap")
def test_build(tmp_path: Path) -> None:
    words = ["images", "build", "--bare", "box:1", "busybox-static", "--data-dir", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "box:1  sha256:" in done.output
    assert len(list(tmp_path.glob("images/layers/*/bin/busybox"))) == 1
