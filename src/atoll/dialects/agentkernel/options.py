"""What the operator decides about this dialect."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """Its defaults are those of agentkernel's document."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    statuses: Literal["documented", "newest"] = Field(
        "documented",
        description="Where agentkernel's document and its newest server differ: a command that "
        "fails and a name that is taken are 500, or 409.",
    )
    timeout_s: Annotated[float, Field(ge=0, le=604_800)] = Field(
        0.0,
        description="Wall time of a command; 0 is the most that the server itself allows.",
    )
