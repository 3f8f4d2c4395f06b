"""What there is: languages, backends, profiles, tools, events, probes."""

from typing import Any

from atoll.http.schemas.sandbox import LimitsOut, NetworkOut
from atoll.http.schemas.words import AnswerModel, IsolationName


class LanguageOut(AnswerModel):
    """A language. `hint` says how to get it where it is not available."""

    name: str
    title: str
    aliases: list[str]
    extension: str
    entry: str
    available: bool
    hint: str | None


class LanguageList(AnswerModel):
    """All languages that this server knows."""

    items: list[LanguageOut]


class BackendOut(AnswerModel):
    """What a kind of isolation can do on this host; `why` when it cannot."""

    name: str
    usable: bool
    isolation: IsolationName
    why: str
    capabilities: list[str]
    limits: dict[str, str]
    facts: dict[str, str]


class BackendList(AnswerModel):
    """In the operator's order of preference."""

    items: list[BackendOut]


class ProfileOut(AnswerModel):
    """A named set of rules. `network` is what it asks for, `network_in_force` what one gets here.

    `mounts` are the directories of the host that it shows: none, in every profile.
    """

    name: str
    description: str
    default: bool
    limits: LimitsOut
    network: NetworkOut
    network_in_force: NetworkOut
    min_isolation: IsolationName | None
    read_only_root: bool
    mounts: list[str]


class ProfileList(AnswerModel):
    """All profiles."""

    items: list[ProfileOut]


class ToolOut(AnswerModel):
    """A tool for a language model. Its input is the body of `method` `path`."""

    name: str
    description: str
    method: str
    path: str
    input_schema: dict[str, Any]


class ToolList(AnswerModel):
    """All tools."""

    items: list[ToolOut]


class EventOut(AnswerModel):
    """One line of the audit log. `hash` is its own, `previous` that of the event before it."""

    seq: int
    at: float
    tenant: str
    actor: str
    action: str
    outcome: str
    sandbox_id: str | None
    detail: dict[str, str]
    previous: str
    hash: str


class EventPage(AnswerModel):
    """Oldest first. `next_cursor` goes on from here, also when nothing is there yet."""

    items: list[EventOut]
    next_cursor: str


class HealthOut(AnswerModel):
    """The server answers."""

    status: str


class ReadyOut(AnswerModel):
    """Whether work would be taken; `checks` says what is not right."""

    status: str
    checks: dict[str, str]
