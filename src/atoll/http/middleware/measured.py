"""Counts and times requests by route, never by path: paths are without number."""

from time import perf_counter

from starlette.types import ASGIApp, Receive, Scope, Send

from atoll.http.metrics import Metrics
from atoll.http.middleware.tracked import Tracked


class Measured:
    """Streams count when they end."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        tracked = Tracked(send)
        begun = perf_counter()
        try:
            await self._app(scope, receive, tracked)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(scope["method"], route, tracked.status, perf_counter() - begun)
