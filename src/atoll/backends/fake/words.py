"""The programs that the fake has without being told: a handful of coreutils."""

import re

import anyio
import anyio.lowlevel

from atoll.backends.fake.program import Invocation, Program
from atoll.core.errors import AtollError
from atoll.core.model import FileKind, TtySize

ESCAPE = re.compile(r"\\(?:([abfnrtv\\])|x([0-9a-fA-F]{1,2})|0?([0-7]{1,3}))")
LETTERS = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92}
FLOOD = 4096


def _unescape(text: str) -> bytes:
    out = bytearray()
    at = 0
    for match in ESCAPE.finditer(text):
        out += text[at : match.start()].encode("utf-8", "surrogateescape")
        letter, hexadecimal, octal = match.groups()
        if letter:
            out.append(LETTERS[letter])
        else:
            out.append(int(hexadecimal, 16) if hexadecimal else int(octal, 8) & 255)
        at = match.end()
    return bytes(out + text[at:].encode("utf-8", "surrogateescape"))


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


async def _true(_call: Invocation) -> int:
    return 0


async def _false(_call: Invocation) -> int:
    return 1


async def _echo(call: Invocation) -> int:
    args = call.argv[1:]
    end = b"\n"
    if args and args[0] == "-n":
        args, end = args[1:], b""
    await call.stdout(_raw(" ".join(args)) + end)
    return 0


async def _printf(call: Invocation) -> int:
    form, *args = call.argv[1:] or ("",)
    pieces = re.split(r"(%[sdb%])", form)
    wanted = sum(1 for piece in pieces if piece in {"%s", "%d", "%b"})
    out = bytearray()
    while True:
        for piece in pieces:
            if piece == "%%":
                out += b"%"
            elif piece in {"%s", "%d", "%b"}:
                value = args.pop(0) if args else ""
                out += _unescape(value) if piece == "%b" else _raw(value)
            else:
                out += _unescape(piece)
        if not args or not wanted:
            break
    await call.stdout(bytes(out))
    return 0


async def _cat(call: Invocation) -> int:
    for name in call.argv[1:] or ("-",):
        if name == "-":
            while data := await call.stdin.read():
                await call.stdout(data)
            continue
        try:
            await call.stdout(call.tree.file(call.path(name)).data)
        except AtollError:
            return await call.fail(f"{name}: No such file or directory")
    return 0


async def _sleep(call: Invocation) -> int:
    await call.process.sleep(float(call.argv[1]))
    return 0


async def _env(call: Invocation) -> int:
    for name, value in call.env.items():
        await call.stdout(_raw(f"{name}={value}\n"))
    return 0


async def _yes(call: Invocation) -> int:
    block = _raw(" ".join(call.argv[1:]) or "y") + b"\n"
    while True:
        await call.stdout(block * (FLOOD // len(block) + 1))


async def _pwd(call: Invocation) -> int:
    await call.stdout(_raw(call.cwd) + b"\n")
    return 0


async def _kill(call: Invocation) -> int:
    number, *pids = call.argv[1:]
    found = [call.kill(int(pid), int(number.lstrip("-"))) for pid in pids]
    await anyio.lowlevel.checkpoint()
    return 0 if all(found) else await call.fail("No such process")


async def _stty(call: Invocation) -> int:
    size = call.process.tty
    if size is None:
        return await call.fail("standard input: Inappropriate ioctl for device")
    await call.stdout(_raw(f"{size.rows} {size.cols}\n"))
    return 0


async def _test(call: Invocation) -> int:
    match call.argv[1:]:
        case ("-t", _):
            holds = isinstance(call.process.tty, TtySize)
        case ("-n", text):
            holds = text != ""
        case ("-z", text):
            holds = text == ""
        case (left, "=", right):
            holds = left == right
        case (option, name):
            node = call.tree.locate(call.path(name)).node
            kinds = {"-f": FileKind.FILE, "-d": FileKind.DIRECTORY}
            holds = node is not None and kinds.get(option, node.kind) is node.kind
            holds = holds and (option != "-x" or bool(node and node.mode & 0o111))
        case _:
            return 2
    return 0 if holds else 1


async def _mkdir(call: Invocation) -> int:
    for name in call.argv[1:]:
        if name != "-p":
            place = call.tree.locate(call.path(name), make="-p" in call.argv)
            if place.node is None:
                call.tree.add(place, FileKind.DIRECTORY, 0o755)
            elif "-p" not in call.argv:
                return await call.fail(f"cannot create directory '{name}': File exists")
    return 0


async def _touch(call: Invocation) -> int:
    for name in call.argv[1:]:
        place = call.tree.locate(call.path(name))
        if place.node is None:
            call.tree.add(place, FileKind.FILE, 0o644)
    return 0


async def _ln(call: Invocation) -> int:
    target, name = call.argv[-2:]
    place = call.tree.locate(call.path(name), follow=False)
    if place.node is not None or call.argv[1] != "-s":
        return await call.fail(f"failed to create symbolic link '{name}'")
    call.tree.add(place, FileKind.SYMLINK, 0o777, target=target)
    return 0


async def _rm(call: Invocation) -> int:
    for name in call.argv[1:]:
        if not name.startswith("-"):
            place = call.tree.locate(call.path(name), follow=False)
            if place.node is not None:
                call.tree.discard(place)
    return 0


async def _chmod(call: Invocation) -> int:
    for name in call.argv[2:]:
        call.tree.get(call.path(name)).mode = int(call.argv[1], 8)
    return 0


async def _ls(call: Invocation) -> int:
    names = [name for name in call.argv[1:] if not name.startswith("-")]
    for name in names or ["."]:
        try:
            node = call.tree.directory(call.path(name))
        except AtollError:
            return await call.fail(f"cannot access '{name}': No such file or directory", 2)
        await call.stdout(b"".join(_raw(f"{child}\n") for child in sorted(node.children)))
    return 0


async def _head(call: Invocation) -> int:
    """`head -c N [FILE]`, where /dev/zero has no end."""
    left = int(call.argv[2])
    source = call.argv[3] if len(call.argv) > 3 else "-"  # noqa: PLR2004
    data = b"" if source in {"-", "/dev/zero"} else call.tree.file(call.path(source)).data
    while left > 0:
        if source == "/dev/zero":
            data = bytes(min(left, FLOOD))
        elif source == "-":
            data = await call.stdin.read(left)
        piece, data = data[:left], b""
        if not piece:
            break
        await call.stdout(piece)
        left -= len(piece)
    return 0


async def _hostname(call: Invocation) -> int:
    await call.stdout(call.tree.file("/etc/hostname").data)
    return 0


def words() -> dict[str, Program]:
    """The programs by name."""
    return {
        ":": _true,
        "[": _bracket,
        "cat": _cat,
        "chmod": _chmod,
        "echo": _echo,
        "env": _env,
        "false": _false,
        "head": _head,
        "hostname": _hostname,
        "kill": _kill,
        "ln": _ln,
        "ls": _ls,
        "mkdir": _mkdir,
        "printf": _printf,
        "pwd": _pwd,
        "rm": _rm,
        "sleep": _sleep,
        "stty": _stty,
        "test": _test,
        "touch": _touch,
        "true": _true,
        "yes": _yes,
    }


async def _bracket(call: Invocation) -> int:
    return await _test(call.called(*call.argv[:-1]))
