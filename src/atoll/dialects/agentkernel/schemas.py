"""The bodies of requests."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from atoll.dialects.agentkernel.errors import BadRequest, NotYet
from atoll.http.errors import printable

M = TypeVar("M", bound=BaseModel)
Command = Annotated[list[str], Field(max_length=4096)]


class Body(BaseModel):
    """Fields that agentkernel has not are left alone, as it does."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class RunIn(Body):
    """A one-shot. `image` counts only without `fast`."""

    command: Command
    image: str | None = None
    profile: str | None = None
    fast: bool = True


class BatchCommand(Body):
    """One of a batch."""

    command: Command


class BatchIn(Body):
    """Many one-shots."""

    commands: list[BatchCommand]


class ExecIn(Body):
    """A command in a sandbox."""

    command: Command
    env: list[str] | None = None
    workdir: str | None = None
    sudo: bool | None = None


# What a create or a patch may say in agentkernel, and is refused here when it says anything.
NOT_YET = (
    "network",
    "volumes",
    "agent",
    "secrets",
    "secret_files",
    "placeholder_secrets",
    "secret_mappings",
    "init_script",
    "source_url",
)


class LifecycleIn(Body):
    """How long a sandbox may be without use before something is done with it."""

    auto_stop_after_seconds: int | None = None
    auto_archive_after_seconds: int | None = None
    auto_delete_after_seconds: int | None = None

    def native(self) -> dict[str, int | None]:
        """The same as fields of the native API, those that are given."""
        given = {
            "auto_stop_after_seconds": "idle_timeout_s",
            "auto_archive_after_seconds": "auto_archive_s",
            "auto_delete_after_seconds": "auto_delete_s",
        }
        return {
            here: getattr(self, there)
            for there, here in given.items()
            if there in self.model_fields_set
        }


class Said(Body):
    """A body whose fields beyond ours are looked at, too."""

    model_config = ConfigDict(extra="allow")

    def refuse_not_yet(self) -> None:
        """`NotYet` for what is asked for and not there; what says nothing is as good as absent."""
        extra = self.model_extra or {}
        for name in NOT_YET:
            if extra.get(name):
                raise NotYet(f"The field '{name}'")


class CreateIn(Said):
    """A sandbox to make."""

    name: str
    image: str | None = None
    vcpus: Annotated[int, Field(ge=1, le=1024)] | None = None
    memory_mb: Annotated[int, Field(ge=8, le=1024 * 1024)] | None = None
    profile: str | None = None
    backend: str | None = None
    labels: dict[str, str] | None = None
    ports: list[int | str] | None = None
    lifecycle: LifecycleIn | None = None
    description: str | None = None
    created_from_template: str | None = None
    template_help_text: str | None = None
    source_ref: str | None = None


class PatchIn(Said):
    """What to change; a field that is absent stays."""

    labels: dict[str, str] | None = None
    description: str | None = None
    lifecycle: LifecycleIn | None = None


class ExtendIn(Body):
    """How much longer."""

    by: str


class ForkIn(Body):
    """How to call the copy."""

    as_name: str


class WriteIn(Body):
    """A file's content."""

    content: str
    encoding: str = "utf8"


class WriteManyIn(Body):
    """Texts by absolute path."""

    files: dict[str, str]


class TakeIn(Body):
    """A sandbox to freeze."""

    sandbox: str
    name: str | None = None


class RestoreIn(Body):
    """How to call what comes of it."""

    as_name: str | None = None


async def read(request: Request, model: type[M]) -> M:
    """The body as that model, whatever its media type says. `BadRequest` names the field."""
    return parse(await request.body(), model)


async def read_optional(request: Request, model: type[M]) -> M:
    """The same where no body at all means all defaults."""
    return parse(await request.body() or b"{}", model)


def parse(body: bytes, model: type[M]) -> M:
    """JSON as that model."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise BadRequest(f"Invalid JSON: {sentence(error)}") from None


def native(model: type[M], **fields: object) -> M:
    """A body of the native API, with what that API checks; `BadRequest` in words of this one."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise BadRequest(sentence(error).replace("argv", "command")) from None


def sentence(error: ValidationError) -> str:
    """The first thing that is wrong."""
    first: Any = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"] if not str(part).startswith("["))
    message = str(first["msg"]).removeprefix("Value error, ").removeprefix("Invalid JSON: ")
    return printable(f"{where}: {message}" if where else message)[:500]


def check_command(command: list[str]) -> None:
    """A command has at least a name."""
    if not command:
        raise BadRequest("command is required")
