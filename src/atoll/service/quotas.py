"""What a tenant may use at once."""

from collections.abc import Generator
from contextlib import contextmanager

from atoll.core.errors import Busy
from atoll.service.caller import Caller


class Quotas:
    """Counts of what runs, per tenant. In memory: what runs does not outlive the server."""

    def __init__(self, *, retry_after_s: float = 1.0) -> None:
        self._running: dict[str, int] = {}
        self._retry_after_s = retry_after_s

    @contextmanager
    def running(self, caller: Caller) -> Generator[None, None, None]:
        """Count one execution of the caller's tenant for the length of the block.

        `Busy` when as many as the caller's key allows are waiting or running already.
        """
        tenant = caller.tenant
        count = self._running.get(tenant, 0)
        if count >= caller.max_concurrent:
            raise Busy(
                f"Tenant {tenant!r} has {count} executions waiting or running, "
                f"and may have {caller.max_concurrent}.",
                retry_after_s=self._retry_after_s,
            )
        self._running[tenant] = count + 1
        try:
            yield
        finally:
            left = self._running[tenant] - 1
            if left:
                self._running[tenant] = left
            else:
                del self._running[tenant]

    def in_use(self, tenant: str) -> int:
        """How many executions of the tenant wait or run now."""
        return self._running.get(tenant, 0)
