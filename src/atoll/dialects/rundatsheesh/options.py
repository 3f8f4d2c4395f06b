"""What the operator decides about this dialect: the variables of run-dat-sheesh's own server."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Millis = Annotated[int, Field(ge=1, le=86_400_000)]


class Options(BaseModel):
    """Its defaults are run-dat-sheesh's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_key: SecretStr | None = Field(
        None,
        description="The key that clients send as `X-API-Key`; without it the server's own count.",
    )
    admin_email: str = Field("", description="Who may log in; empty is any address.")
    admin_password: SecretStr | None = Field(
        None, description="Their password; without it the server's `admin_password_hash` counts."
    )
    vm_secret_key: SecretStr | None = Field(
        None, description="What `secretEnv` is encrypted with; without it there is none."
    )
    max_vms: Count = Field(20, description="VMs at once.")
    max_cpu: Annotated[int, Field(ge=1, le=1024)] = Field(4, description="CPUs of a VM.")
    max_mem_mb: Annotated[int, Field(ge=64, le=1_048_576)] = Field(
        2048, description="Memory of a VM, in MiB."
    )
    max_allow_ips: Annotated[int, Field(ge=0, le=256)] = Field(
        64, description="Entries of `allowIps`."
    )
    max_exec_timeout_ms: Millis = Field(
        120_000, description="The longest `timeoutMs` of a command."
    )
    max_runts_timeout_ms: Millis = Field(120_000, description="The longest of a program.")
    legacy_home_paths: bool = Field(
        default=False,
        description="Take paths beneath /home/user for files, as the older document has them.",
    )
    rate_limits: bool = Field(
        default=True, description="Count requests of each address, minute by minute."
    )
    backend: str = Field("", description="The backend of VMs; empty is the server's first.")
