"""Loads the table of languages, and looks for them on the host."""

import re
import shutil
import sysconfig
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import cast

from atoll.core.languages import ARGS, ENTRY, Language

HOST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BESIDE = "/opt/atoll/bin"
_SCRIPTS = "@scripts/"
_NAME = re.compile(r"[a-z][a-z0-9_+#-]{0,31}")
_REQUIRED = {"title", "entry", "argv", "version", "install"}
_OPTIONAL = {"aliases", "env", "programs"}


class BadTable(ValueError):
    """A table of languages is wrong. `problems` has a sentence for everything that is."""

    def __init__(self, where: str, problems: list[str]) -> None:
        super().__init__("\n".join(f"{where}: {problem}" for problem in problems))
        self.problems = problems


def load(path: Path | None = None) -> dict[str, Language]:
    """The table in that file, by default the one that comes with Atoll. Blocks; at start only.

    Raises `BadTable` with all of its problems, `OSError` when it cannot be read.
    """
    if path is None:
        text = resources.files("atoll.images").joinpath("languages.toml").read_text("utf-8")
        return parse(text, where="languages.toml")
    return parse(path.read_text("utf-8"), where=str(path))


def parse(text: str, *, where: str) -> dict[str, Language]:
    """The table in that text; `where` is what problems name."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadTable(where, [f"is not TOML: {error}"]) from error
    problems: list[str] = []
    found: dict[str, Language] = {}
    owners: dict[str, str] = {}
    for name, table in tables.items():
        language = _language(name, table, problems)
        if language is None:
            continue
        for word in (name, *language.aliases):
            owner = owners.setdefault(word.casefold(), name)
            if owner != name:
                problems.append(f"{word!r} is a name of both {owner} and {name}.")
        found[name] = language
    if problems:
        raise BadTable(where, problems)
    return found


def locate(language: Language) -> Path | None:
    """Where the first of its programs that this host has is; None when it has none."""
    for program in language.programs:
        if program.startswith(_SCRIPTS):
            directory = sysconfig.get_path("scripts")
            hit = shutil.which(program.removeprefix(_SCRIPTS), path=directory)
        else:
            hit = shutil.which(program, path=HOST_PATH)
        if hit is not None:
            return Path(hit)
    return None


def beside(table: Mapping[str, Language]) -> tuple[tuple[str, str], ...]:
    """Programs that came with Atoll's own environment: (host path, path in the host image) pairs.

    The host image shows the host's /usr, which these are not in.
    """
    found: dict[str, str] = {}
    for language in table.values():
        place = locate(language)
        if place is not None and str(place.parent) not in HOST_PATH.split(":"):
            found[str(place.resolve())] = f"{BESIDE}/{place.name}"
    return tuple(found.items())


def _language(name: str, table: object, problems: list[str]) -> Language | None:
    """One entry, or None with its problems added."""
    before = len(problems)
    if not _NAME.fullmatch(name):
        problems.append(f"{name!r} is no name: a lower-case letter, then letters, digits, _+#-.")
    if not isinstance(table, dict):
        problems.append(f"{name} must be a table, as in [{name}].")
        return None
    fields = cast("dict[str, object]", table)
    problems += [f"{name} lacks {key!r}." for key in sorted(_REQUIRED - fields.keys())]
    unknown = sorted(fields.keys() - _REQUIRED - _OPTIONAL)
    known = ", ".join(sorted(_REQUIRED | _OPTIONAL))
    problems += [f"{name}.{key} is unknown; there are: {known}." for key in unknown]
    title = _text(fields.get("title", "-"), f"{name}.title", problems)
    entry = _text(fields.get("entry", "-.x"), f"{name}.entry", problems)
    install = _text(fields.get("install", "-"), f"{name}.install", problems)
    argv = _words(fields.get("argv", [ENTRY, ARGS]), f"{name}.argv", problems)
    version = _words(fields.get("version", ["-"]), f"{name}.version", problems)
    aliases = _words(fields.get("aliases", []), f"{name}.aliases", problems)
    programs = _words(fields.get("programs", list(argv[:1])), f"{name}.programs", problems)
    env = _env(fields.get("env", {}), f"{name}.env", problems)
    _check_template(name, argv, problems)
    if "/" in entry or (entry.startswith("-") and "entry" in fields):
        problems.append(f"{name}.entry must be a plain file name.")
    if not version and "version" in fields:
        problems.append(f"{name}.version must not be empty.")
    if len(problems) > before:
        return None
    return Language(
        name=name,
        title=title,
        entry=entry,
        argv=argv,
        version_argv=version,
        install_hint=install,
        aliases=aliases,
        programs=programs,
        env=env,
    )


def _check_template(name: str, argv: tuple[str, ...], problems: list[str]) -> None:
    problems += [
        f"{name}.argv must hold {mark!r} exactly once, as a word of its own."
        for mark in (ENTRY, ARGS)
        if argv.count(mark) != 1 or sum(mark in word for word in argv) != 1
    ]
    if argv and argv[0] in {ENTRY, ARGS}:
        problems.append(f"{name}.argv must begin with a program.")


def _text(value: object, where: str, problems: list[str]) -> str:
    if isinstance(value, str) and value.strip() and "\0" not in value:
        return value
    problems.append(f"{where} must be a string that is not empty.")
    return ""


def _words(value: object, where: str, problems: list[str]) -> tuple[str, ...]:
    if isinstance(value, list):
        words = cast("list[object]", value)
        if all(isinstance(word, str) and word and "\0" not in word for word in words):
            return tuple(cast("list[str]", words))
    problems.append(f"{where} must be a list of strings that are not empty.")
    return ()


def _env(value: object, where: str, problems: list[str]) -> Mapping[str, str]:
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value)
        if all(isinstance(text, str) and "\0" not in text for text in pairs.values()):
            return cast("dict[str, str]", pairs)
    problems.append(f"{where} must be a table of strings.")
    return {}
