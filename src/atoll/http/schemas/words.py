"""The kinds of string and number that requests are made of."""

import base64
import binascii
import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    StringConstraints,
    Tag,
    model_validator,
)

LONGEST_ARGUMENT = 128 * 1024


class RequestModel(BaseModel):
    """A body that came in: fields nobody knows are errors, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class AnswerModel(BaseModel):
    """A body that goes out. It is a description; hot answers are written without it."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


def no_nul(value: str) -> str:
    """Refuse what the kernel cannot take in a name, an argument or a variable."""
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    return value


def _argument(value: str) -> str:
    """The kernel's own bound, said here and not in the schema: generators take maxima literally."""
    if len(value) > LONGEST_ARGUMENT:
        raise ValueError(f"must have at most {LONGEST_ARGUMENT} characters")
    return no_nul(value)


def _env_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("must be letters, digits and underscores, and not begin with a digit")
    return value


def _secret_name(value: str) -> str:
    if value.startswith("/"):
        if not re.fullmatch(r"/run/secrets/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", value):
            raise ValueError("must be a variable, or /run/secrets/ and one plain name")
        return value
    return _env_name(value)


Plain = Annotated[str, AfterValidator(no_nul)]
Word = Annotated[Plain, StringConstraints(min_length=1, max_length=256)]
Argument = Annotated[str, AfterValidator(_argument)]
GuestPath = Annotated[Plain, StringConstraints(min_length=1, max_length=4096)]
SandboxName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$"),
    Field(description="Lower case letters, digits, dots, dashes, underscores; unique while alive."),
]
EnvName = Annotated[str, AfterValidator(_env_name), StringConstraints(max_length=256)]
Env = Annotated[dict[EnvName, Argument], Field(max_length=1024)]
SecretName = Annotated[str, AfterValidator(_secret_name), StringConstraints(max_length=256)]
Secrets = Annotated[dict[SecretName, Argument], Field(max_length=256)]
LabelKey = Annotated[Plain, StringConstraints(min_length=1, max_length=128, pattern=r"^[^=,\s]+$")]
LabelValue = Annotated[Plain, StringConstraints(max_length=256)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=64)]
TextEncoding = Literal["utf-8", "base64"]
IsolationName = Literal["shared_kernel", "interposed", "virtual_machine"]


class Encoded(RequestModel):
    """Bytes in JSON: as text, or as base64."""

    content: str
    encoding: TextEncoding = "utf-8"
    _decoded: bytes = PrivateAttr(b"")

    @model_validator(mode="after")
    def _decode(self) -> Self:
        try:
            self._decoded = (
                base64.b64decode(self.content, validate=True)
                if self.encoding == "base64"
                else self.content.encode()
            )
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"content is not base64: {error}") from error
        return self

    @property
    def decoded(self) -> bytes:
        """The bytes that were meant."""
        return self._decoded


def _kind(value: object) -> str:
    return "<text>" if isinstance(value, str) else "<encoded>"


# The tags are in angle brackets so that the names of fields in errors can leave them out.
Content = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[Encoded, Tag("<encoded>")],
    Discriminator(_kind),
]


def content_bytes(content: str | Encoded) -> bytes:
    """The bytes that were meant."""
    return content.encode() if isinstance(content, str) else content.decoded
