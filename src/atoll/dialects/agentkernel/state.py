"""What the routes share, and how they reach it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from atoll.dialects.agentkernel.options import Options
from atoll.http.auth import CALLER
from atoll.http.front import Front
from atoll.http.services import Services
from atoll.http.sse import EventStream
from atoll.service.caller import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One application's collaborators. `profiles` are the names that there are."""

    front: Front
    options: Options
    started_at: float
    version: str
    profiles: tuple[str, ...]

    @property
    def services(self) -> Services:
        """The use cases."""
        return self.front.services

    @property
    def timeout_s(self) -> float:
        """The wall time of a command."""
        most = self.front.settings.max_timeout_s
        return min(self.options.timeout_s or most, most)


def state(request: Request) -> State:
    """The application's."""
    found: State = request.app.state.agentkernel
    return found


def caller(request: Request) -> Caller:
    """Who asks; settled before the route."""
    found: Caller = request.scope[CALLER]
    return found


def reply(data: object, status: int = 200) -> Response:
    """A success in its envelope."""
    body = to_json({"success": True, "data": data})
    return Response(body, status_code=status, media_type="application/json")


def stream(here: State, events: AsyncGenerator[bytes, None], *, follows: bool = False) -> Response:
    """Server-sent events, with the header that agentkernel has."""
    answer = EventStream(here.front, events, follows=follows)
    answer.headers["cache-control"] = "no-cache"
    return answer
