"""The limits of a session: the operator's, what its creator asked for, and a tenant's ceiling."""

from dataclasses import asdict, dataclass
from typing import Self

from atoll.core.model import MIB, Limits
from atoll.dialects.wasmrun.options import Options
from atoll.dialects.wasmrun.schemas import LimitsIn

# Of the engine itself, beside the program's own.
ENGINE_BYTES = 256 * MIB
# What engines keep on disk of programs that were compiled.
CACHE_BYTES = 32 * MIB


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """In the units of the API; 0 is no limit."""

    max_memory_mb: int
    max_fuel: int
    max_output_mb: int
    max_file_size_mb: int
    max_disk_mb: int

    @classmethod
    def of(cls, options: Options) -> Self:
        """The operator's."""
        return cls(
            max_memory_mb=options.max_memory_mb,
            max_fuel=options.max_fuel,
            max_output_mb=options.max_output_mb,
            max_file_size_mb=options.max_file_size_mb,
            max_disk_mb=options.max_disk_mb,
        )

    def changed(self, asked: LimitsIn | None) -> "SessionLimits":
        """With what a request asks for laid over them."""
        given = {} if asked is None else asked.model_dump(exclude_none=True)
        return SessionLimits(**{**asdict(self), **given})

    def within(self, ceiling: LimitsIn | None) -> "SessionLimits":
        """No looser than a ceiling, where it has one."""
        most = {} if ceiling is None else ceiling.model_dump(exclude_none=True)
        tight = {name: _tighter(value, most.get(name, 0)) for name, value in asdict(self).items()}
        return SessionLimits(**tight)

    @property
    def file_bytes(self) -> int | None:
        """The largest file; None is any."""
        return self.max_file_size_mb * MIB or None

    @property
    def disk_bytes(self) -> int | None:
        """All files; None is any."""
        return self.max_disk_mb * MIB or None

    def output_bytes(self, most: int) -> int:
        """What is kept of an execution's output, on a server that keeps `most`."""
        return min(self.max_output_mb * MIB or most, most)

    def sandbox(self, usual: Limits, most: Limits) -> Limits:
        """Those of the sandbox, which also holds the engine."""
        memory = (
            self.max_memory_mb * MIB + ENGINE_BYTES if self.max_memory_mb else most.memory_bytes
        )
        disk = self.disk_bytes + CACHE_BYTES if self.disk_bytes else most.disk_bytes
        return Limits(
            memory_bytes=min(memory, most.memory_bytes),
            cpus=min(usual.cpus, most.cpus),
            processes=min(usual.processes, most.processes),
            disk_bytes=min(disk, most.disk_bytes),
            disk_files=min(usual.disk_files, most.disk_files),
            open_files=min(usual.open_files, most.open_files),
        )


def _tighter(value: int, ceiling: int) -> int:
    return min(value, ceiling) if value and ceiling else value or ceiling
