"""The bodies of requests."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, ValidationError
from starlette.requests import Request

from atoll.dialects.wasmrun.errors import BadRequest
from atoll.http.errors import printable

M = TypeVar("M", bound=BaseModel)
Whole = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]
Size = Annotated[int, Field(ge=0, le=1_048_576, strict=True)]
Text = Annotated[str, Field(strict=True)]


def _unless_given(value: object) -> BeforeValidator:
    """For a field whose `null` is the same as its absence."""
    return BeforeValidator(lambda given: value if given is None else given)


Flag = Annotated[bool, _unless_given(value=False)]


class Body(BaseModel):
    """Unknown fields are left alone, as wasmrun does."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class LimitsIn(Body):
    """Limits to change. 0 lifts one."""

    max_memory_mb: Size | None = None
    max_fuel: Whole | None = None
    max_output_mb: Size | None = None
    max_file_size_mb: Size | None = None
    max_disk_mb: Size | None = None


class CreateIn(Body):
    """A session to make."""

    limits: LimitsIn | None = None


class WriteIn(Body):
    """A file to write."""

    path: Text
    content: Text
    encoding: Annotated[Literal["utf-8", "utf8", "base64"], _unless_given("utf-8")] = "utf-8"


class Locked(Body):
    """One installed package, as a lockfile names it."""

    version: Annotated[str, Field(max_length=256)]
    resolved: Annotated[str, Field(max_length=2048)]
    integrity: Annotated[str, Field(max_length=1024)]
    optional: bool = False


class ExecIn(Body):
    """Something to execute; one of the first four says what."""

    command: Text | None = None
    wasm_path: Text | None = None
    source: Text | None = None
    files: dict[str, str] | None = None
    entry: Text | None = None
    language: Text | None = None
    function: Text | None = None
    args: Annotated[list[Text], Field(max_length=10_000), _unless_given([])] = Field(
        default_factory=list
    )
    timeout: Annotated[int, Field(ge=1, le=31_536_000), _unless_given(30)] = 30
    env: dict[str, str] | None = None
    stdin: Text | None = None
    stream: Flag = False
    dependencies: dict[str, str] | None = None
    lockfile: dict[str, Locked] | None = None
    install_package_json: Flag = False
    install_dev_dependencies: Flag = False


async def read(request: Request, model: type[M]) -> M:
    """The body as that model; whatever its media type says. `BadRequest` names the field."""
    return parse(await request.body(), model)


def parse(body: bytes, model: type[M]) -> M:
    """JSON as that model."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise BadRequest(_sentence(error)) from None


async def read_map(request: Request) -> dict[str, str]:
    """A flat map of texts."""
    return parse(await request.body(), _Texts).root


class _Texts(RootModel[dict[str, str]]):
    model_config = ConfigDict(strict=True, frozen=True)


def _sentence(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"] if not str(part).startswith("["))
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return printable(message)[:500]
    return printable(f"Invalid JSON: {where}: {message}" if where else message)[:500]
