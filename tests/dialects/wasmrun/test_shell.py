"""The small shell, with its odd corners."""

import pytest

from tests.dialects.wasmrun.rig import Session

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]


async def _said(session: Session, line: str, **more: str) -> tuple[str, str, int]:
    found = await session.exec(command=line, **more)
    assert "error" not in found, found
    return found["stdout"], found["stderr"], found["exit_code"]


@pytest.mark.parity("shell.builtins")
async def test_builtins(session: Session) -> None:
    assert await _said(session, "echo a  b") == ("a b\n", "", 0)
    assert await _said(session, "mkdir -p d/e; echo x > d/f; ls d; ls; pwd") == (
        "e\nf\nd\n/\n", "", 0,
    )  # fmt: skip
    assert await _said(session, "cd d; pwd; cat f; cd ..; pwd") == ("/d\nx\n/\n", "", 0)
    assert await _said(session, "cp d/f g; mv g d/e; ls d/e; cat d/e/g d/f") == (
        "g\nx\nx\n", "", 0,
    )  # fmt: skip
    assert (await _said(session, "rm d"))[2] == 1
    assert await _said(session, "rm -rf d; rm -f nope; ls") == ("", "", 0)
    assert await _said(session, "cat", stdin="fed") == ("fed", "", 0)
    for wrong in ("cp a", "mv a b c", "cat nope", "cd nope", "rm nope", "mkdir x/y", "cd ../.."):
        stdout, stderr, code = await _said(session, wrong)
        assert (stdout, code) == ("", 1), wrong
        assert stderr.startswith(f"{wrong.split()[0]}: "), wrong


@pytest.mark.parity("shell.operators")
async def test_operators(session: Session) -> None:
    assert await _said(session, "echo one > f; echo two >> f; cat < f | cat") == (
        "one\ntwo\n",
        "",
        0,
    )
    assert (await _said(session, "cat nope && echo never"))[0] == ""
    assert (await _said(session, "cat nope; echo still"))[0] == "still\n"
    assert (await _said(session, "echo a && echo b"))[0] == "a\nb\n"
    assert (await _said(session, "echo lost | echo kept"))[0] == "kept\n"
    assert (await _said(session, "echo x>f;cat<f"))[0] == "x\n"


@pytest.mark.parity("shell.quotes")
async def test_quotes(session: Session) -> None:
    assert await _said(session, "echo 'a > b'  \"c | d\" $HOME *") == (
        "a > b c | d $HOME *\n",
        "",
        0,
    )
    assert await _said(session, "echo a'b'c") == ("a b c\n", "", 0)
    for wrong in ("echo a & b", "echo 'open", "| cat", "echo >", "echo a |", "a && && b", "> f"):
        found = await session.exec(command=wrong)
        assert found["exit_code"] == -1, wrong
        assert found["error"].startswith("Bad request: Parse error: "), wrong
    assert (await session.read("f")).status_code == 404


@pytest.mark.parity("shell.unknown")
async def test_unknown_commands(session: Session) -> None:
    assert await _said(session, "nope -x") == ("", "nope: command not found\n", 127)
    assert await _said(session, "nope && echo a; echo b") == ("b\n", "nope: command not found\n", 0)


@pytest.mark.parity("shell.state")
async def test_what_stays(session: Session) -> None:
    await _said(session, "mkdir d; cd d; export A=1 B")
    assert await _said(session, "pwd; env") == ("/\nA=1\n", "", 0)
    assert await session.printed("console.log(process.env.A)") == "1\n"


async def test_no_file_is_outside(session: Session) -> None:
    for line in ("cat ../../etc/passwd", "cat /../etc/passwd", "ls /..", "cp ../x y"):
        stdout, stderr, code = await _said(session, line)
        assert (stdout, code) == ("", 1)
        assert "Path traversal not allowed" in stderr
    await session.write("etc/passwd", "mine")
    assert (await _said(session, "cat /etc/passwd"))[0] == "mine"


async def test_a_line_is_bounded(session: Session) -> None:
    long = await session.exec(command="echo " + "x" * 70_000)
    assert long["error"].startswith("Bad request: Parse error: the line is over")
