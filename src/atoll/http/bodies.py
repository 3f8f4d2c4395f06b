"""Reading JSON bodies, and saying which field is wrong."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from atoll.http.errors import Invalid, Refused, printable
from atoll.http.middleware.bounds import too_large

M = TypeVar("M", bound=BaseModel)
JSON = "application/json"
MOST_ERRORS = 20


async def read(request: Request, model: type[M]) -> M:
    """The JSON body as that model. `Invalid` names every field that is wrong; 415 else."""
    check_media_type(request)
    return parse(await request.body(), model)


def parse(body: bytes | str, model: type[M]) -> M:
    """JSON as that model."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None


async def read_optional(request: Request, model: type[M]) -> M:
    """The same where no body at all means all defaults."""
    body = await request.body()
    if not body:
        return model()
    check_media_type(request)
    return parse(body, model)


async def read_bounded(request: Request, limit: int) -> bytes:
    """A body that is held whole, where the route's own bound is higher than that."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body)


def check_media_type(request: Request, wanted: str = JSON) -> None:
    """Refuse a body that does not say that it is JSON."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given == wanted or (
        wanted == JSON and given.startswith("application/") and given.endswith("+json")
    ):
        return
    shown = f"not {given[:100]!r}" if given else "and there is none"
    raise Refused(415, f"Content-Type must be {wanted}, {shown}.", headers={"accept": wanted})


def invalid(error: ValidationError) -> Invalid:
    """What pydantic found, in our words."""
    return from_errors(error.errors(include_url=False, include_input=False))


def from_errors(errors: Sequence[Mapping[str, Any]]) -> Invalid:
    """The same for what FastAPI found in path, query and headers."""
    found = [(_field(each["loc"]), _sentence(each)) for each in errors[:MOST_ERRORS]]
    # A list with a wrong item is also called too short: the item is what counts.
    inner = [field for field, _ in found]
    return Invalid(
        [
            (field, detail)
            for field, detail in found
            if not field or not any(other.startswith(f"{field}.") for other in inner)
        ]
    )


def _field(location: Sequence[int | str]) -> str:
    """A dotted path without what is no name of the caller's: unions' tags, `[key]`, `query`."""
    parts = [str(p) for p in location if not (isinstance(p, str) and p[:1] in {"<", "["})]
    if parts and parts[0] in {"body", "query", "path", "header"} and len(location) > 1:
        parts = parts[1:]
    return printable(".".join(parts))[:200]


def _sentence(error: Mapping[str, Any]) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        return "There is no such field."
    if kind == "missing":
        return "This field is required."
    message = printable(str(error["msg"]))
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return f"{message[:1].upper()}{message[1:]}."[:500]
