"""Other systems' APIs, spoken over the same sandboxes. None of them knows another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from atoll.dialects.agentkernel import AGENTKERNEL
from atoll.dialects.rundatsheesh import RUN_DAT_SHEESH
from atoll.dialects.wasmrun import WASMRUN
from atoll.http.dialect import Dialect
from atoll.settings import Settings, SettingsError

DIALECTS: Mapping[str, Dialect] = {
    each.name: each for each in (AGENTKERNEL, RUN_DAT_SHEESH, WASMRUN)
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the operator decided about one. `address` is None when it has no port of its own."""

    dialect: Dialect
    options: BaseModel
    address: tuple[str, int] | None


def chosen(settings: Settings) -> Sequence[Chosen]:
    """All dialects, with their options checked. Raises `SettingsError` with every problem."""
    problems: list[str] = []
    known = ", ".join(DIALECTS)
    addresses: dict[str, tuple[str, int]] = {}
    for each in settings.dialects:
        name, _, place = each.partition("=")
        if name not in DIALECTS:
            problems.append(f"dialects has {name!r}; there is: {known}.")
            continue
        host, _, port = place.rpartition(":")
        address = (host.strip("[]"), int(port)) if place else ("127.0.0.1", DIALECTS[name].port)
        if address[1] and address[1] in {settings.port, *(p for _, p in addresses.values())}:
            problems.append(f"dialects: port {address[1]} of {name} is another's already.")
        addresses[name] = address
    problems += [
        f"dialect_options has {name!r}; there is: {known}."
        for name in settings.dialect_options
        if name not in DIALECTS
    ]
    found = [
        Chosen(each, options, addresses.get(each.name))
        for each in DIALECTS.values()
        if (options := _options(each, settings, problems)) is not None
    ]
    if problems:
        raise SettingsError(problems)
    return found


def _options(dialect: Dialect, settings: Settings, problems: list[str]) -> BaseModel | None:
    given: Mapping[str, Any] = settings.dialect_options.get(dialect.name, {})
    try:
        return dialect.options(**given)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            name = ".".join(str(part) for part in each["loc"])
            message = each["msg"].removeprefix("Value error, ")
            problems.append(f"dialect_options.{dialect.name}.{name}: {message}.")
        return None


def page(name: str) -> str:
    """docs/dialects/NAME.md: its own beginning, its options, its parity table."""
    dialect = DIALECTS[name]
    rows = ["| option | default | what it is |", "|---|---|---|"]
    rows += [
        f"| `{option}` | `{field.default}` | {field.description} |"
        for option, field in dialect.options.model_fields.items()
    ]
    return (
        f"{dialect.page().rstrip()}\n\n## Options\n\n"
        f"`atoll serve --dialect-option {name}.OPTION=VALUE`, or a table "
        f"`[dialect_options.{name}]` in the configuration file.\n\n"
        + "\n".join(rows)
        + "\n\n## Parity\n\n"
        "Made from the same data as the tests: each line is a test.\n\n"
        + dialect.parity.tables()
        + "\n"
    )
