"""API keys and the admin's session."""

from typing import Annotated

from pydantic import ConfigDict, Field, SecretStr, StringConstraints

from atoll.http.schemas.words import AnswerModel, Plain, RequestModel

Name = Annotated[Plain, StringConstraints(min_length=1, max_length=128)]
Tenant = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class CreateKeyRequest(RequestModel):
    """A key to make. Only admins choose a tenant other than their own, or make admins."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "ci", "tenant": "blue"}]})

    name: Name
    tenant: Tenant | None = Field(default=None, description="Absent: the caller's own.")
    admin: bool = False
    expires_in_s: Annotated[float, Field(gt=0, le=10 * 365 * 86_400)] | None = None
    max_sandboxes: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    max_concurrent: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class KeyOut(AnswerModel):
    """A key, without the key."""

    id: str
    tenant: str
    name: str
    prefix: str
    admin: bool
    created_at: float
    expires_at: float | None
    max_sandboxes: int | None
    max_concurrent: int | None


class NewKeyOut(KeyOut):
    """The only time that the key itself is shown."""

    key: str


class KeyList(AnswerModel):
    """All keys that the caller may see."""

    items: list[KeyOut]


class LoginRequest(RequestModel):
    """The admin's password."""

    password: Annotated[SecretStr, Field(min_length=1, max_length=1024)]


class LoginOut(AnswerModel):
    """Who is logged in, and until when (seconds since the epoch)."""

    actor: str
    expires_at: float
