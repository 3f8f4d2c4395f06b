"""What the operator decides about this dialect: the flags of wasmrun's own server."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, le=1_000_000)]
Megabytes = Annotated[int, Field(ge=0, le=1_048_576)]


class Options(BaseModel):
    """Its defaults are wasmrun's. 0 lifts a limit, up to what the server itself allows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout_s: Annotated[int, Field(ge=0, le=31_536_000)] = Field(
        300, description="A session that is idle for so long expires."
    )
    max_sessions: Count = Field(100, description="Sessions at once, of all tenants together.")
    max_memory_mb: Megabytes = Field(256, description="Memory of a program.")
    max_fuel: Annotated[int, Field(ge=0, le=2**63 - 1)] = Field(
        0, description="WebAssembly instructions of one execution."
    )
    max_output_mb: Megabytes = Field(10, description="Output kept of one execution.")
    max_file_size_mb: Megabytes = Field(50, description="The largest file.")
    max_disk_mb: Megabytes = Field(100, description="All files of a session.")
    max_body_mb: Annotated[int, Field(ge=0, le=1024)] = Field(
        32, description="The largest request body; 0 is 1024."
    )
    max_concurrent_exec: Count = Field(100, description="Executions at once.")
    max_cache_mb: Megabytes = Field(2048, description="npm packages kept on the host.")
    npm_registry: str = Field(
        "",
        description="Where `dependencies` come from; empty is what npm's own configuration says.",
    )
    allow_cors: bool = Field(default=False, description="Let pages of every site read answers.")
    auth: Path | None = Field(
        None, description="A TOML file of tenants; without it the server's own keys count."
    )
    verbose: bool = Field(default=False, description="Log every request.")
