import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.core.languages import ARGS, ENTRY
from atoll.images.languages import BadTable, load, locate, parse

GOOD = """
[python]
title = "Python"
aliases = ["py"]
entry = "main.py"
argv = ["python3", "{entry}", "{args}"]
version = ["python3", "--version"]
install = "apt-get install python3"
"""


def problems(text: str) -> list[str]:
    with pytest.raises(BadTable) as caught:
        parse(text, where="mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    return caught.value.problems


def test_the_table_that_comes_with_atoll_is_good() -> None:
    table = load()
    assert {"python", "javascript", "typescript", "bash", "sh"} <= set(table)
    for language in table.values():
        assert language.argv.count(ENTRY) == language.argv.count(ARGS) == 1
        assert language.extension
        assert language.programs


def test_python_is_the_command_that_is_forked_warm() -> None:
    python = load()["python"]
    assert python.command("main.py", ["a", "b c"]) == ("python3", "main.py", "a", "b c")
    assert python.entry == "main.py"


def test_an_entry_is_what_it_says() -> None:
    python = parse(GOOD, where="x")["python"]
    assert (python.name, python.title, python.aliases) == ("python", "Python", ("py",))
    assert python.version_argv == ("python3", "--version")
    assert python.install_hint == "apt-get install python3"
    assert python.programs == ("python3",)
    assert python.extension == ".py"


def test_a_table_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(GOOD)
    assert list(load(path)) == ["python"]
    path.write_text("[")
    with pytest.raises(BadTable, match=r"own\.toml: is not TOML"):
        load(path)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('title = "Python"', "", "python lacks 'title'."),
        ('title = "Python"', "title = 3", "python.title must be a string"),
        ('title = "Python"', 'title = " "', "python.title must be a string"),
        ('"{entry}", ', "", "python.argv must hold '{entry}' exactly once"),
        ('"{args}"', '"{args}", "{args}"', "python.argv must hold '{args}' exactly once"),
        ('"{entry}"', '"sh -c {entry}"', "python.argv must hold '{entry}' exactly once"),
        ('"python3", "{entry}"', '"{entry}"', "python.argv must begin with a program."),
        ('"main.py"', '"../main.py"', "python.entry must be a plain file name."),
        ('"main.py"', '"-c"', "python.entry must be a plain file name."),
        ('["py"]', '"py"', "python.aliases must be a list of strings"),
        ('["py"]', '[""]', "python.aliases must be a list of strings"),
        ('["python3", "--version"]', "[]", "python.version must not be empty."),
        ('title = "Python"', 'title = "P"\ncolour = "blue"', "python.colour is unknown"),
        ('title = "Python"', 'title = "P"\nenv = { A = 1 }', "python.env must be a table"),
        ("[python]", "[Python]", "'Python' is no name"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, problem: str) -> None:
    assert old in GOOD
    (found,) = problems(GOOD.replace(old, new, 1))
    assert found.startswith(problem)


def test_all_mistakes_are_told_at_once() -> None:
    assert len(problems("python = 3\n[b]\ntitle = 1\nsize = 2")) >= 6


def test_a_name_belongs_to_one_language() -> None:
    second = GOOD.replace("[python]", "[other]").replace('"py"', '"PY"')
    (found,) = problems(GOOD + second)
    assert found == "'PY' is a name of both python and other."


def test_programs_are_looked_for_on_the_host() -> None:
    shell = load()["sh"]
    assert locate(shell) in {Path("/usr/bin/sh"), Path("/bin/sh")}
    assert locate(replace(shell, programs=("no-such-program", "/bin/sh"))) == Path("/bin/sh")
    assert locate(replace(shell, programs=("no-such-program", "/no/such"))) is None


def test_a_program_may_come_with_a_python_package() -> None:
    scripts = Path(sysconfig.get_path("scripts"))
    shell = replace(load()["sh"], programs=("@scripts/pytest",))
    assert locate(shell) == scripts / "pytest"
