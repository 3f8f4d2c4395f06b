"""Every language of the table that this host has says what it is told to."""

from collections.abc import Iterator

import pytest

from atoll.client import Atoll, Unavailable
from tests.e2e.server import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60), pytest.mark.needs("userns")]

PROGRAMS = {
    "python": "import sys\nprint(1 + 1, sys.argv[1])",
    "javascript": "console.log(1 + 1, process.argv[2])",
    "typescript": "const two: number = 1 + 1;\nconsole.log(two, Deno.args[0]);",
    "bash": "echo $((1 + 1)) ${@:1:1}",
    "sh": "echo $((1 + 1)) $1",
    "perl": 'print 1 + 1, " $ARGV[0]\\n";',
    "ruby": 'puts "#{1 + 1} #{ARGV[0]}"',
    "awk": "BEGIN { print 1 + 1, ARGV[1] }",
    "c": '#include <stdio.h>\nint main(int n, char **v) { printf("%d %s\\n", 1 + 1, v[1]); }',
}


@pytest.fixture
def atoll(server: Server) -> Iterator[Atoll]:
    with Atoll(server.url) as client:
        yield client


@pytest.mark.parametrize("language", PROGRAMS)
def test_one_shot(atoll: Atoll, language: str) -> None:
    here = {each.name: each for each in atoll.languages()}[language]
    if not here.available:
        with pytest.raises(Unavailable, match=here.hint):
            atoll.execute(language, PROGRAMS[language])
        return
    result = atoll.execute(language, PROGRAMS[language], args=["x"])
    assert (result.stdout, result.stderr, result.exit_code) == ("2 x\n", "", 0)


@pytest.mark.parametrize("language", ["javascript", "typescript"])
def test_in_a_sandbox_that_is_kept(atoll: Atoll, language: str) -> None:
    if not {each.name: each for each in atoll.languages()}[language].available:
        pytest.skip(f"no {language} here")
    with atoll.sandboxes.create() as box:
        assert box.exec(language=language, code=PROGRAMS[language], args=["x"]).stdout == "2 x\n"


@pytest.mark.needs("deno")
def test_deno_has_no_network_and_room_to_work(atoll: Atoll) -> None:
    code = """
    const failed = await fetch("http://192.0.2.1/").then(() => "reached", () => "failed");
    const many = new Array(3e6).fill(0).map((_, i) => ({ i }));
    console.log(failed, many.length);
    """
    assert atoll.execute("typescript", code).stdout == "failed 3000000\n"
