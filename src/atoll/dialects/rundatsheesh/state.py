"""What the routes share, and how they reach it."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from atoll.dialects.rundatsheesh.activity import Activity
from atoll.dialects.rundatsheesh.apikeys import ApiKeys
from atoll.dialects.rundatsheesh.bridges import Bridges
from atoll.dialects.rundatsheesh.host import Host
from atoll.dialects.rundatsheesh.imagerows import ImageRows
from atoll.dialects.rundatsheesh.machines import Machines
from atoll.dialects.rundatsheesh.options import Options
from atoll.dialects.rundatsheesh.rates import Rates
from atoll.dialects.rundatsheesh.runs import Runs
from atoll.dialects.rundatsheesh.seeds import Seeds
from atoll.dialects.rundatsheesh.webhooks import Webhooks
from atoll.http.answers import encoded
from atoll.http.front import Front
from atoll.http.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One application's collaborators."""

    front: Front
    options: Options
    machines: Machines
    runs: Runs
    activity: Activity
    webhooks: Webhooks
    seeds: Seeds
    bridges: Bridges
    keys: ApiKeys
    images: ImageRows
    rates: Rates
    host: Host
    console: str
    version: str

    @property
    def services(self) -> Services:
        """The use cases."""
        return self.front.services


def state(request: Request) -> State:
    """The application's."""
    found: State = request.app.state.rundatsheesh
    return found


def reply(data: object, status: int = 200) -> Response:
    """A success, bare."""
    return Response(encoded(data), status_code=status, media_type="application/json")


def done() -> Response:
    """A success without a body."""
    return Response(status_code=204)
