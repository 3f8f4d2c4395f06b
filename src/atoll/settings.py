"""One frozen `Settings`: defaults < TOML file < environment `ATOLL_*` < flags.

The only module that reads the environment. Keys that nobody knows are errors, and all problems
are told at once. `python -m atoll.settings` prints docs/settings.md.
"""

import difflib
import json
import os
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from atoll.core.model import MIB, Limits
from atoll.core.profiles import PROFILES, Profile, Profiles, define

PREFIX = "ATOLL_"
GIB = 1024 * MIB
# Variables of this prefix that are read by something else (the client, the tests).
FOREIGN = frozenset({"ATOLL_URL", "ATOLL_API_KEY", "ATOLL_CONFIG"})

Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1)]
# TOML and the environment have no null: they say "never".
OrNever = Annotated[
    Seconds | None, BeforeValidator(lambda value: None if value in {"", "never"} else value)
]


def _tables(value: object) -> object:
    """Tables come as they are from a file, and as JSON from the environment."""
    return json.loads(value) if isinstance(value, str) else value


class SettingsError(Exception):
    """The settings cannot be used. `problems` has a sentence for each that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def _default_data_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/atoll")
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "atoll"


class Settings(BaseModel):
    """Everything an operator decides. Made once, by `load`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Listening
    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: Port = Field(8000, description="The port to listen on; 0 takes a free one.")
    dialects: tuple[str, ...] = Field(
        (), description="Other systems' APIs to give a port, each `NAME` or `NAME=HOST:PORT`."
    )
    dialect_options: Annotated[Mapping[str, Mapping[str, Any]], BeforeValidator(_tables)] = Field(
        default_factory=dict,
        description="A table of settings for each dialect; its page lists them.",
    )
    insecure: bool = Field(
        default=False, description="Serve callers from everywhere without a key."
    )
    loopback_without_key: bool = Field(
        default=True,
        description="Serve callers on this machine without a key. Turn it off behind a proxy.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="More `Host` names that callers without a key may use."
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="Web origins (`https://…`) whose pages may use the API without a key."
    )

    # Storage
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Where everything is kept. Default: /var/lib/atoll as root, "
        "else ~/.local/share/atoll.",
    )
    database_url: SecretStr | None = Field(
        None, description="`postgresql+asyncpg://…`; without it SQLite in the data directory."
    )

    # Isolation
    backends: tuple[str, ...] = Field(
        ("namespace", "wasm"), description="Kinds of isolation, the preferred first."
    )
    wasm_workers: Literal["auto", "namespace", "plain"] = Field(
        "auto",
        description="Where WebAssembly runs: in namespaces, in plain processes (weaker), or `auto`:"
        " plain only where there are no namespaces.",
    )
    uid_base: Annotated[int, Field(ge=1)] = Field(
        0x70000000,
        description="As root: the host's user id of sandboxes; it should own nothing else.",
    )
    images: tuple[str, ...] = Field(
        ("*",), description='Images that requests may name; `["*"]` is all, empty is none.'
    )
    image_table: Path | None = Field(
        None, description="A TOML file that says what names of images mean, before Atoll's own."
    )
    image_registry: str = Field(
        "", description="The registry of names that say none, `HOST[:PORT][/PATH]`; empty is none."
    )
    image_registries: tuple[str, ...] = Field(
        (),
        description="Registries that admins may have the server pull from, beside those of the "
        "other settings; empty is none. `atoll images pull` may use any.",
    )
    image_pull_registries: tuple[str, ...] = Field(
        (), description="Registries that requests may make the server pull from; empty is none."
    )
    image_bytes: Bytes = Field(8 * GIB, description="The most that one image may take on the disk.")
    images_bytes: Bytes = Field(64 * GIB, description="The most that all images may take.")
    warm_images: tuple[str, ...] = Field(
        (), description="Images to keep sandboxes ready of, as many as of the host's."
    )
    preload_sets: tuple[tuple[str, ...], ...] = Field(
        (), description="Sets of Python modules to keep imported, for `preload` in requests."
    )
    network_modes: tuple[Literal["none", "allow", "internet"], ...] = Field(
        ("none",), description="Network modes that requests may ask for."
    )
    network_guarded: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Ranges of addresses that only their own listing in `allow` lets through."
    )
    network_alias: IPv4Address | None = Field(
        None,
        description="An address by which sandboxes reach this host, where their policies list it.",
    )
    network_dns: tuple[IPv4Address | IPv6Address, ...] = Field(
        (), description="Name servers to ask for sandboxes; the host's own by default."
    )

    # Capacity
    pool_size: Annotated[int, Field(ge=0, le=1024)] = Field(
        4, description="Sandboxes to keep ready for one-shots."
    )
    max_running: Count = Field(
        default_factory=lambda: 8 * (os.cpu_count() or 1),
        description="One-shots that run at once. Default: eight for each CPU.",
    )
    max_queued: Annotated[int, Field(ge=0)] = Field(
        512, description="One-shots that wait for their turn; more are refused (429)."
    )
    queue_timeout_s: Seconds = Field(30.0, description="How long a one-shot waits for its turn.")
    max_batch: Count = Field(256, description="Requests in one batch.")
    max_sandboxes: Count = Field(100, description="Sandboxes of a tenant, unless its key says.")
    max_concurrent: Count = Field(
        256, description="One-shots of a tenant at once, running or waiting, unless its key says."
    )

    # Limits
    default_profile: str = Field("moderate", description="The profile of requests without one.")
    profiles: Annotated[Mapping[str, Mapping[str, Any]], BeforeValidator(_tables)] = Field(
        default_factory=dict,
        description="A table for each profile of your own, or changed: [profiles](profiles.md).",
    )
    default_timeout_s: Seconds = Field(30.0, description="Wall time of a program without its own.")
    max_timeout_s: Seconds = Field(3600.0, description="The longest wall time a request may ask.")
    default_output_bytes: Bytes = Field(8 * MIB, description="Output of a program without its own.")
    max_output_bytes: Bytes = Field(64 * MIB, description="The most output a request may ask.")
    max_memory_bytes: Bytes = Field(8 * GIB, description="The most memory a request may ask.")
    max_cpus: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default_factory=lambda: float(max(2, os.cpu_count() or 1)),
        description="The most CPUs a request may ask. Default: all there are, at least two.",
    )
    max_processes: Count = Field(4096, description="The most processes a request may ask.")
    max_disk_bytes: Bytes = Field(32 * GIB, description="The most disk a request may ask.")
    max_disk_files: Count = Field(4_000_000, description="The most files a request may ask.")
    max_open_files: Count = Field(65_536, description="The most open files a request may ask.")

    # Sandboxes
    default_idle_timeout_s: OrNever = Field(
        1800.0,
        description="Stopped after this long without use, or `never`.",
    )
    default_lifetime_s: OrNever = Field(
        7 * 86_400.0,
        description="Destroyed this long after it was made, or `never`.",
    )
    default_auto_delete_s: OrNever = Field(
        None, description="Destroyed after this long without use, or `never`."
    )
    default_auto_archive_s: OrNever = Field(
        None, description="Archived after this long without use, or `never`."
    )
    max_lifetime_s: OrNever = Field(
        None, description="The longest lifetime a request may ask, or `never`."
    )
    output_log_bytes: Bytes = Field(16 * MIB, description="Output kept of each process.")
    stop_grace_s: Seconds = Field(5.0, description="Between SIGTERM and SIGKILL at a stop.")
    janitor_interval_s: Seconds = Field(60.0, description="Between looks at leases and leftovers.")
    keep_ended_s: Seconds = Field(
        30 * 86_400.0, description="How long ended sandboxes and their post-mortems are kept."
    )

    # Audit
    audit_file: Path | None = Field(
        None, description="Write the audit log to this file too, as JSON lines."
    )
    audit_file_sync: bool = Field(
        default=True,
        description="Wait for the disk after each batch of lines: only that batch can be lost.",
    )
    audit_keep_s: OrNever = Field(
        365 * 86_400.0, description="How long events are kept in the database, or `never` pruned."
    )
    audit_max_events: Annotated[
        Count | None, BeforeValidator(lambda value: None if value in {"", "never"} else value)
    ] = Field(10_000_000, description="The most events kept in the database, or `never` pruned.")

    # Keys
    admin_password_hash: SecretStr | None = Field(
        None, description="Argon2 hash for `/auth/login`: `atoll hash-password` makes it."
    )
    session_secret: SecretStr | None = Field(
        None, description="Signs session cookies. Without it sessions end with the server."
    )
    session_hours: Annotated[float, Field(gt=0, le=24 * 365)] = Field(
        12.0, description="How long a login lasts."
    )

    # HTTP
    max_body_bytes: Bytes = Field(16 * MIB, description="The largest JSON body.")
    max_upload_bytes: Bytes = Field(8 * GIB, description="The largest file or archive put.")
    max_headers: Count = Field(100, description="Headers of a request.")
    max_header_bytes: Bytes = Field(64 * 1024, description="All headers of a request together.")
    body_timeout_s: Seconds = Field(
        20.0, description="How long a body may take, beside the time at the slowest speed."
    )
    body_min_rate: Annotated[int, Field(ge=1)] = Field(
        16 * 1024, description="The slowest speed of a body, in bytes per second."
    )
    port_answer_s: Seconds = Field(
        120.0, description="How long a program in a sandbox may take to begin its HTTP answer."
    )
    port_idle_s: Seconds = Field(
        300.0, description="How long its answer may be silent before it is cut off."
    )
    heartbeat_s: Seconds = Field(15.0, description="Between comments on a stream that is silent.")
    max_streams: Count = Field(1000, description="Event streams and terminals open at once.")
    max_listing: Count = Field(10_000, description="Entries in one listing of a directory.")
    drain_s: Annotated[float, Field(ge=0, le=3600)] = Field(
        10.0, description="How long running requests may go on at shutdown."
    )

    # Log
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least that is logged."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto` is console on a terminal, JSON elsewhere."
    )
    access_log: bool = Field(default=False, description="Log every request.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems: list[str] = []
        problems += self._profile_problems()
        names = sorted({*PROFILES, *self.profiles})
        if self.default_profile not in names:
            problems.append(
                f"default_profile is {self.default_profile!r}; use one of {', '.join(names)}"
            )
        if self.default_timeout_s > self.max_timeout_s:
            problems.append("default_timeout_s is more than max_timeout_s")
        if self.default_output_bytes > self.max_output_bytes:
            problems.append("default_output_bytes is more than max_output_bytes")
        if not self.backends:
            problems.append("backends is empty: nothing could run")
        problems += [
            f"dialects has {each!r}; write NAME or NAME=HOST:PORT"
            for each in self.dialects
            if not re.fullmatch(r"[a-z0-9_-]+(=[^=:\s]+:\d{1,5})?", each)
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def url(self) -> str:
        """Where the records are."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir / 'atoll.db'}"

    def _profile_problems(self) -> list[str]:
        problems: list[str] = []
        for name, table in self.profiles.items():
            try:
                if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name):
                    raise ValueError("a name has small letters, digits, dashes and underscores")
                define(name, table, PROFILES)
            except ValueError as error:
                problems.append(f"profiles.{name}: {error}")
        return problems

    @property
    def profile_set(self) -> Profiles:
        """Our profiles with the operator's laid over them."""
        own: dict[str, Profile] = {
            name: define(name, table, PROFILES) for name, table in self.profiles.items()
        }
        return Profiles(own, default=self.default_profile, modes=self.network_modes)

    @property
    def networked(self) -> bool:
        """Whether any sandbox may have a network."""
        return not set(self.network_modes) <= {"none"}

    @property
    def max_limits(self) -> Limits:
        """The operator's bounds on what requests may ask."""
        return Limits(
            memory_bytes=self.max_memory_bytes,
            cpus=self.max_cpus,
            processes=self.max_processes,
            disk_bytes=self.max_disk_bytes,
            disk_files=self.max_disk_files,
            open_files=self.max_open_files,
        )


def load(
    flags: Mapping[str, Any] | None = None,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    dialect_options: Sequence[str] = (),
) -> Settings:
    """Gather the settings. Flags of None are absent. Raises `SettingsError` with every problem.

    `dialect_options` are single ones as on the command line, `NAME.OPTION=VALUE`.
    """
    problems: list[str] = []
    env = os.environ if environ is None else environ
    named = config or (Path(env["ATOLL_CONFIG"]) if env.get("ATOLL_CONFIG") else None)
    values: dict[str, Any] = {}
    values |= _from_file(named, problems)
    values |= _from_environment(env, problems)
    values |= {k: v for k, v in (flags or {}).items() if v is not None}
    try:
        if dialect_options:
            values["dialect_options"] = _with_options(
                _tables(values.get("dialect_options", {})), dialect_options, problems
            )
        settings = Settings(**values)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            name = ".".join(str(part) for part in each["loc"])
            message = each["msg"].removeprefix("Value error, ")
            problems.append(f"{name}: {message}." if name else f"{message}.")
        raise SettingsError(problems) from error
    if problems:
        raise SettingsError(problems)
    return settings


def _with_options(given: object, words: Sequence[str], problems: list[str]) -> dict[str, Any]:
    """The tables of the dialects, with single options laid over them."""
    tables = dict(cast("Mapping[str, Any]", given)) if isinstance(given, Mapping) else {}
    for word in words:
        left, equals, value = word.partition("=")
        dialect, dot, name = left.partition(".")
        if not (equals and dot and dialect and name):
            problems.append(f"--dialect-option {word!r} must be NAME.OPTION=VALUE.")
            continue
        tables[dialect] = {**tables.get(dialect, {}), name.replace("-", "_"): value}
    return tables


def npm_registry(environ: Mapping[str, str] | None = None) -> str:
    """The registry that npm's own variable names; empty without it."""
    env = os.environ if environ is None else environ
    return env.get("npm_config_registry") or env.get("NPM_CONFIG_REGISTRY") or ""


def _from_file(path: Path | None, problems: list[str]) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"The configuration file {path} cannot be read: {error}.")
        return {}
    return _known(values, f"The configuration file {path}", problems)


def _from_environment(env: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    mine = {k: v for k, v in env.items() if k.upper().startswith(PREFIX) and k not in FOREIGN}
    values: dict[str, Any] = {}
    for variable, text in mine.items():
        name = variable[len(PREFIX) :].lower()
        if name not in Settings.model_fields:
            problems.append(f"The environment has {variable}, which is no setting.{_near(name)}")
            continue
        try:
            values[name] = _decode(name, text)
        except ValueError as error:
            problems.append(f"{variable} is not a list in JSON: {error}.")
    return values


def _decode(name: str, text: str) -> object:
    """A variable's text; lists are JSON, or words with commas between."""
    default = Settings.model_fields[name].annotation
    if get_origin(default) is not tuple:
        return text
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [part.strip() for part in text.split(",") if part.strip()]


def _known(values: dict[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    for name in [each for each in values if each not in Settings.model_fields]:
        problems.append(f"{where} has {name!r}, which is no setting.{_near(name)}")
        del values[name]
    return values


def _near(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def page() -> str:
    """docs/settings.md."""
    lines = [PAGE_HEAD.rstrip()]
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            lines += ["", f"## {SECTIONS[name]}", "", "| setting | default | what it is |"]
            lines += ["|---|---|---|"]
        default = "" if field.default_factory is not None else f"`{_shown(field.default)}`"
        lines.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def _shown(default: object) -> str:
    if default is None:
        return "none"
    return json.dumps(default)


# The first setting of each section of the page.
SECTIONS = {
    "host": "Listening",
    "data_dir": "Storage",
    "backends": "Isolation",
    "pool_size": "Capacity",
    "default_profile": "Limits",
    "default_idle_timeout_s": "Sandboxes",
    "audit_file": "Audit",
    "admin_password_hash": "Keys and the admin",
    "max_body_bytes": "HTTP",
    "log_level": "Log",
}

PAGE_HEAD = """\
# Settings

Each can be given in a TOML file (`--config FILE` or `ATOLL_CONFIG`), in the environment (`ATOLL_`
and the name in capitals) and, the usual ones, as a flag of `atoll serve`; the later wins. A name
that is no setting is an error. Lists in the environment are JSON or `a,b,c`.

This page is made by `python -m atoll.settings > docs/settings.md`; a test compares them.
"""

if __name__ == "__main__":
    sys.stdout.write(page())
