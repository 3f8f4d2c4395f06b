"""The admin password. Only its Argon2 hash is known here."""

import anyio
import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from atoll.core.errors import Busy, Forbidden

_LONGEST_PASSWORD = 1024
_MOST_WAITING = 8


def hash_password(password: str) -> str:
    """What to put into the settings for this password. Takes tens of milliseconds."""
    return PasswordHasher().hash(password)


class Login:
    """Verifies the admin password, one attempt at a time and off the event loop.

    An attempt costs tens of milliseconds and tens of megabytes by design, so a flood of them
    waits in a short line and is then refused.
    """

    def __init__(self, password_hash: str | None) -> None:
        self._hash = password_hash
        self._one = anyio.CapacityLimiter(1)
        self._waiting = 0

    @property
    def enabled(self) -> bool:
        """Whether there is a password at all."""
        return self._hash is not None

    async def verify(self, password: str) -> bool:
        """Whether it is the password. `Forbidden` when none is set, `Busy` under a flood."""
        if self._hash is None:
            raise Forbidden("No admin password is set on this server, so nobody can log in.")
        if len(password) > _LONGEST_PASSWORD:
            return False
        if self._waiting >= _MOST_WAITING:
            raise Busy("Too many log-ins at once.", retry_after_s=1.0)
        self._waiting += 1
        try:
            return await anyio.to_thread.run_sync(_matches, self._hash, password, limiter=self._one)
        finally:
            self._waiting -= 1


def _matches(password_hash: str, password: str) -> bool:
    try:
        return PasswordHasher().verify(password_hash, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
