"""Archives from a sandbox are hostile: nothing is made outside of the target."""

import io
import tarfile
from pathlib import Path

import pytest

from atoll.client.trees import unpack


def archive(*members: tuple[str, bytes, str]) -> io.BytesIO:
    """Members as (name, type, content or link)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, text in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.mode = 0o6755
            if kind == tarfile.REGTYPE:
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
            else:
                member.linkname = text
                tar.addfile(member)
    out.seek(0)
    return out


F, L, H, D = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize(
    "members",
    [
        [("../out", F, "x")],
        [("a/../../out", F, "x")],
        [("/tmp/atoll-out", F, "x")],
        [("link", L, ".."), ("link/out", F, "x")],
        [("link", L, "/tmp"), ("link/atoll-out", F, "x")],
        [("d", L, "."), ("e", L, "d/../out"), ("e", H, "x")],
        [("deep", D, ""), ("deep/link", L, "../../out")],
        [("hard", H, "../secret")],
        [("hard", H, "/etc/passwd")],
        [("device", tarfile.CHRTYPE, "")],
        [("pipe", tarfile.FIFOTYPE, "")],
    ],
)
def test_nothing_leads_out(tmp_path: Path, members: list[tuple[str, bytes, str]]) -> None:
    (tmp_path / "secret").write_text("secret")
    target = tmp_path / "target"
    done = unpack(archive(*members, ("good", F, "good")), target)
    assert done.left_out
    assert (target / "good").read_text() == "good"
    assert {path.name for path in tmp_path.iterdir()} == {"target", "secret"}
    assert not Path("/tmp/atoll-out").exists()
    for path in target.rglob("*"):
        assert path.resolve().is_relative_to(target)


def test_a_planted_link_is_replaced_not_written_through(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").symlink_to(secret)
    unpack(archive(("file", F, "new")), target)
    assert secret.read_text() == "secret"
    assert (target / "file").read_text() == "new"


def test_what_is_harmless_is_made(tmp_path: Path) -> None:
    members = [
        ("d", D, ""),
        ("d/f", F, "text"),
        ("d/up", L, "../d/f"),
        ("same", H, "d/f"),
        ("d/f", F, "newer"),
    ]
    done = unpack(archive(*members), tmp_path)
    assert done.left_out == ()
    assert (tmp_path / "d" / "f").read_text() == "newer"
    assert (tmp_path / "d" / "up").read_text() == "newer"
    assert (tmp_path / "same").read_text() == "text"
    assert (tmp_path / "d" / "f").stat().st_mode & 0o7777 == 0o755
