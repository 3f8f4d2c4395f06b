"""What the routes share, and how they reach it."""

from dataclasses import dataclass

from starlette.requests import Request

from atoll.dialects.wasmrun.execute import Executor
from atoll.dialects.wasmrun.metrics import Metrics
from atoll.dialects.wasmrun.options import Options
from atoll.dialects.wasmrun.sessions import Sessions
from atoll.dialects.wasmrun.tenants import Tenant, Tenants
from atoll.http.auth import CALLER
from atoll.http.front import Front
from atoll.service.caller import Caller

TENANT = "wasmrun.tenant"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One application's collaborators. `tenants` is None where the server's own keys count."""

    front: Front
    options: Options
    sessions: Sessions
    executor: Executor
    metrics: Metrics
    tenants: Tenants | None
    started_at: float
    version: str


def state(request: Request) -> State:
    """The application's."""
    found: State = request.app.state.wasmrun
    return found


def caller(request: Request) -> Caller:
    """Who asks; settled before the route."""
    found: Caller = request.scope[CALLER]
    return found


def tenant(request: Request) -> Tenant | None:
    """Their entry in the tenants file, where there is one."""
    found: Tenant | None = request.scope.get(TENANT)
    return found
