"""Stacks of layers on the disk: what survives a crash, what is collected, what is refused."""

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atoll.backends.namespace import disk as module
from atoll.backends.namespace.disk import Disk, Stack
from atoll.core.errors import BackendFault, Conflict, NotFound
from atoll.jail.host.trees import erase


class Killed(BaseException):
    """Stands for the end of the server."""


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    disk = Disk(tmp_path / "d", None)
    disk.prepare()
    return disk


@pytest.fixture
def put(tmp_path: Path) -> Callable[[Stack, str, str], None]:
    def put(stack: Stack, name: str, text: str) -> None:
        (tmp_path / "d/layers" / stack.upper / "fs" / name).write_text(text)

    return put


Put = Callable[[Stack, str, str], None]


def layers(tmp_path: Path) -> set[str]:
    return set(os.listdir(tmp_path / "d/layers"))


def test_a_new_one_has_the_usual_directories(disk: Disk, tmp_path: Path) -> None:
    disk.prepare()
    stack = disk.open("sb_1", None)
    assert stack.layers == ()
    place = tmp_path / "d/layers" / stack.upper / "fs"
    assert (place / "workspace").is_dir()
    assert (place / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert disk.open("sb_1", None) == stack
    assert disk.names("boxes") == ["sb_1"]
    assert disk.has("boxes", "sb_1")


def test_a_snapshot_freezes_the_upper_layer(disk: Disk, put: Put) -> None:
    first = disk.open("sb_1", None)
    put(first, "f", "1")
    disk.freeze("sb_1", "sn_1")
    second = disk.open("sb_1", None)
    assert second.layers == (first.upper,)
    assert disk.snapshot_layers("sn_1") == [first.upper]
    fork = disk.open("sb_2", "sn_1")
    assert fork.layers == (first.upper,)
    assert fork.upper not in {first.upper, second.upper}


def test_an_unchanged_sandbox_gains_no_layer(disk: Disk) -> None:
    disk.open("sb_1", None)
    disk.freeze("sb_1", "sn_1")
    before = disk.open("sb_1", None)
    disk.freeze("sb_1", "sn_2")
    assert disk.open("sb_1", None) == before
    assert disk.snapshot_layers("sn_2") == disk.snapshot_layers("sn_1")


def test_what_is_not_there(disk: Disk) -> None:
    with pytest.raises(NotFound):
        disk.open("sb_1", "sn_none")
    assert disk.names("boxes") == []
    with pytest.raises(NotFound):
        disk.freeze("sb_none", "sn_1")
    with pytest.raises(NotFound):
        disk.snapshot_layers("sn_none")
    disk.drop("boxes", "sb_none")
    disk.drop("frozen", "sn_none")
    assert Disk(Path("/nonexistent"), None).names("boxes") == []


def test_a_snapshot_is_not_replaced(disk: Disk) -> None:
    disk.open("sb_1", None)
    disk.freeze("sb_1", "sn_1")
    with pytest.raises(Conflict):
        disk.freeze("sb_1", "sn_1")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "a.b", "a\0b"])
def test_names_that_are_paths(disk: Disk, name: str) -> None:
    for act in (lambda: disk.open(name, None), lambda: disk.drop("boxes", name)):
        with pytest.raises(NotFound):
            act()


def test_as_deep_as_it_may_be(disk: Disk, put: Put) -> None:
    for number in range(module.LAYERS_MAX):
        put(disk.open("sb_1", None), "f", str(number))
        disk.freeze("sb_1", f"sn_{number}")
    stack = disk.open("sb_1", None)
    assert len(stack.layers) == module.LAYERS_MAX
    disk.freeze("sb_1", "sn_same")
    put(stack, "f", "one more")
    with pytest.raises(Conflict, match="deep"):
        disk.freeze("sb_1", "sn_more")
    assert not disk.has("frozen", "sn_more")
    assert disk.open("sb_1", None) == stack


@pytest.mark.parametrize("restarted", [False, True])
def test_a_layer_goes_with_the_last_that_has_it(
    disk: Disk, put: Put, tmp_path: Path, *, restarted: bool
) -> None:
    first = disk.open("sb_1", None)
    put(first, "f", "1")
    disk.freeze("sb_1", "sn_1")
    second = disk.open("sb_1", None)
    fork = disk.open("sb_2", "sn_1")
    if restarted:
        disk = Disk(tmp_path / "d", None)
        disk.prepare()
    disk.drop("boxes", "sb_1")
    assert layers(tmp_path) == {first.upper, fork.upper}
    disk.drop("frozen", "sn_1")
    assert layers(tmp_path) == {first.upper, fork.upper}
    disk.drop("boxes", "sb_2")
    assert layers(tmp_path) == set()
    assert set(os.listdir(tmp_path / "d/trash")) == {first.upper, second.upper, fork.upper}
    disk.empty()
    assert os.listdir(tmp_path / "d/trash") == []


def test_collect_takes_what_nobody_names(disk: Disk, put: Put, tmp_path: Path) -> None:
    put(disk.open("sb_1", None), "f", "1")
    disk.freeze("sb_1", "sn_1")
    fork = disk.open("sb_2", "sn_1")
    assert disk.collect() == 0
    before = layers(tmp_path)
    (tmp_path / "d/layers/left").mkdir()
    assert disk.collect() == 1
    assert layers(tmp_path) == before
    assert fork.upper in before
    assert os.listdir(tmp_path / "d/trash") == ["left"]


def test_a_crash_while_dropping(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is gone, the layer is not yet in the trash: the next start finds it."""
    disk.open("sb_1", None)

    def crash(_layer: str) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(disk, "_discard", crash)
        with pytest.raises(Killed):
            disk.drop("boxes", "sb_1")
    assert disk.names("boxes") == []
    assert len(layers(tmp_path)) == 1
    again = Disk(tmp_path / "d", None)
    again.prepare()
    assert again.collect() == 1


@pytest.mark.parametrize("step", range(1, 4))
def test_a_crash_while_freezing(
    disk: Disk, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Killed before a file gets its name, or a layer its place: the sandbox is whole."""
    first = disk.open("sb_1", None)
    put(first, "f", "1")
    seen = 0

    def stop(real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **fields: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == step:
                raise Killed
            return real(*args, **fields)

        return act

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop(os.replace))
        patch.setattr(secrets, "token_hex", stop(secrets.token_hex))
        with pytest.raises(Killed):
            disk.freeze("sb_1", "sn_1")
    again = Disk(tmp_path / "d", None)
    again.prepare()
    assert again.names("frozen") == []
    stack = again.open("sb_1", None)
    again.collect()
    assert layers(tmp_path) == {stack.upper, *stack.layers}
    texts = [
        (tmp_path / "d/layers" / name / "fs/f")
        for name in (stack.upper, *stack.layers)
        if (tmp_path / "d/layers" / name / "fs/f").exists()
    ]
    assert [path.read_text() for path in texts] == ["1"]
    again.freeze("sb_1", "sn_1")
    assert first.upper in again.snapshot_layers("sn_1")


def test_a_crash_between_the_two_files(
    disk: Disk, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sandbox has its new layer, the snapshot is not there: nothing changes under one."""
    first = disk.open("sb_1", None)
    put(first, "f", "1")
    save = disk._save

    def crash(kind: str, name: str, value: dict[str, object]) -> None:
        if kind == "frozen":
            raise Killed
        save(kind, name, value)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "_save", crash)
        with pytest.raises(Killed):
            disk.freeze("sb_1", "sn_1")
    stack = disk.open("sb_1", None)
    assert stack.layers == (first.upper,)
    assert disk.names("frozen") == []
    assert disk.collect() == 0
    disk.freeze("sb_1", "sn_1")
    assert disk.snapshot_layers("sn_1") == [first.upper]


DAMAGED = [b"", b"{", b"\xff\xff", b"[]", b"null", b"3", b"{}", b'{"upper": 1, "layers": []}',
           b'{"upper": "a"}', b'{"upper": "a", "layers": "bc"}', b'{"layers": [1]}']  # fmt: skip


@pytest.mark.parametrize("raw", DAMAGED)
def test_a_damaged_record_is_a_fault_and_nothing_is_collected(
    disk: Disk, put: Put, tmp_path: Path, raw: bytes
) -> None:
    """Whose layers they are cannot be known any more: all stay."""
    stack = disk.open("sb_1", None)
    put(stack, "f", "1")
    (tmp_path / "d/boxes/sb_1.json").write_bytes(raw)
    with pytest.raises(BackendFault):
        disk.open("sb_1", None)
    with pytest.raises(BackendFault):
        disk.freeze("sb_1", "sn_1")
    with pytest.raises(BackendFault):
        disk.collect()
    assert layers(tmp_path) == {stack.upper}
    disk.drop("boxes", "sb_1")
    assert layers(tmp_path) == {stack.upper}
    assert disk.collect() == 1


def test_beside_a_damaged_record_no_shared_layer_goes(disk: Disk, put: Put, tmp_path: Path) -> None:
    """It might have been its layer too."""
    first = disk.open("sb_1", None)
    put(first, "f", "1")
    disk.freeze("sb_1", "sn_1")
    fork = disk.open("sb_2", "sn_1")
    (tmp_path / "d/boxes/sb_2.json").write_bytes(b"{")
    again = Disk(tmp_path / "d", None)
    again.prepare()
    again.drop("boxes", "sb_1")
    again.drop("frozen", "sn_1")
    assert layers(tmp_path) == {first.upper, fork.upper}


def test_a_half_written_record_is_no_record(disk: Disk, tmp_path: Path) -> None:
    disk.open("sb_1", None)
    (tmp_path / "d/boxes/sb_2.json.abcd").write_text("{")
    assert disk.names("boxes") == ["sb_1"]
    assert disk.collect() == 0


def test_usage(disk: Disk, put: Put) -> None:
    stack = disk.open("sb_1", None)
    size, count = disk.usage([stack.upper])
    put(stack, "f", "x" * 100_000)
    more, files = disk.usage([stack.upper])
    assert files == count + 1
    assert more - size >= 100_000
    assert disk.usage(["none"]) == (0, 0)


def test_erase_whatever_the_modes(tmp_path: Path) -> None:
    place = tmp_path / "t" / "a" / "b"
    place.mkdir(parents=True)
    (place / "f").touch()
    (place / "link").symlink_to(tmp_path)
    place.chmod(0)
    (tmp_path / "t" / "a").chmod(0o500)
    erase(tmp_path / "t")
    assert not (tmp_path / "t").exists()
    erase(tmp_path / "t")
    assert tmp_path.exists()


def test_erase_a_tree_that_is_deeper_than_the_stack(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deep", dir_fd=fd)
        below = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    erase(tmp_path / "deep")
    assert not (tmp_path / "deep").exists()


def test_records_are_plain_json(disk: Disk, tmp_path: Path) -> None:
    stack = disk.open("sb_1", None)
    record = json.loads((tmp_path / "d/boxes/sb_1.json").read_text())
    assert record == {"upper": stack.upper, "layers": []}
