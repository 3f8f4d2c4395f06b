"""What the routes of one application share, and how they reach it."""

from dataclasses import dataclass

from starlette.requests import HTTPConnection

from atoll.http.auth import CALLER, Authenticator
from atoll.http.metrics import Metrics
from atoll.http.services import Services
from atoll.http.session import Sessions
from atoll.http.streams import Streams
from atoll.http.translate import Translator
from atoll.service.caller import Caller
from atoll.service.login import Login
from atoll.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """One application's collaborators."""

    services: Services
    settings: Settings
    authenticator: Authenticator
    sessions: Sessions
    login: Login
    metrics: Metrics
    streams: Streams
    translator: Translator


def front(connection: HTTPConnection) -> Front:
    """The application's `Front`."""
    found: Front = connection.app.state.front
    return found


def caller(connection: HTTPConnection) -> Caller:
    """Who asks; the guard has settled it."""
    found: Caller = connection.scope[CALLER]
    return found
