"""The admin's session: a signed cookie, and the ids of those that were ended early."""

import hashlib
import secrets
from typing import cast

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.responses import Response

from atoll.core.errors import Unauthenticated
from atoll.service.clock import Clock
from atoll.settings import Settings

COOKIE = "atoll_session"
_MOST_ENDED = 10_000


class Sessions:
    """Gives cookies out and knows them again.

    A new password ends all sessions. Without a `session_secret` they end with the server; with
    one, a session that was logged out is known as ended only until the server's end.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        secret = settings.session_secret
        password = settings.admin_password_hash
        fingerprint = hashlib.sha256(
            password.get_secret_value().encode() if password is not None else b""
        ).hexdigest()
        self._signer = URLSafeTimedSerializer(
            secret.get_secret_value() if secret is not None else secrets.token_urlsafe(32),
            salt=f"atoll.session.{fingerprint}",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )
        self._clock = clock
        self._lasts_s = settings.session_hours * 3600
        self._ended: dict[str, float] = {}

    def begin(self) -> tuple[str, float]:
        """A new session's cookie, and when it ends."""
        until = self._clock.now() + self._lasts_s
        cookie = self._signer.dumps({"id": secrets.token_urlsafe(16), "until": until})
        return str(cookie), until

    def give(self, cookie: str, response: Response, *, secure: bool) -> None:
        """Put the cookie on a response."""
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=int(self._lasts_s),
            path="/",
            secure=secure,
            httponly=True,
            samesite="strict",
        )

    def check(self, cookie: str) -> None:
        """Raise `Unauthenticated` unless it is a living session's cookie."""
        session = self._read(cookie)
        if session is None or session[0] in self._ended:
            raise Unauthenticated("The session has ended; log in again.")

    def end(self, cookie: str | None, response: Response, *, secure: bool) -> None:
        """End it here and in the browser."""
        session = self._read(cookie) if cookie else None
        if session is not None:
            self._forget_old()
            self._ended[session[0]] = session[1]
        response.delete_cookie(COOKIE, path="/", secure=secure, httponly=True, samesite="strict")

    def _read(self, cookie: str) -> tuple[str, float] | None:
        try:
            content = cast("dict[str, object]", self._signer.loads(cookie))
            name, until = str(content["id"]), float(cast("float", content["until"]))
        except (BadSignature, KeyError, TypeError, ValueError):
            return None
        return (name, until) if self._clock.now() < until else None

    def _forget_old(self) -> None:
        now = self._clock.now()
        self._ended = {name: until for name, until in self._ended.items() if until > now}
        while len(self._ended) >= _MOST_ENDED:
            self._ended.pop(next(iter(self._ended)))
