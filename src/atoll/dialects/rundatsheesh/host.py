"""What the machine has and uses, for the admin's overview."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
_MEMORY = Path("/proc/meminfo")
_IDLE = (3, 4)  # idle and iowait: proc_stat(5)


@dataclass(slots=True)
class Host:
    """Reads /proc. The usage of CPUs is that since the last look."""

    root: Path
    _busy: int = 0
    _all: int = 0

    def cpu_percent(self) -> float:
        """How busy the CPUs were since the last look, or since the machine began."""
        fields = [int(each) for each in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
        whole = sum(fields)
        busy = whole - sum(fields[at] for at in _IDLE)
        spent, passed = busy - self._busy, whole - self._all
        self._busy, self._all = busy, whole
        return round(100 * spent / passed, 1) if passed > 0 else 0.0

    def cores(self) -> int:
        """CPUs that the server may use."""
        return len(os.sched_getaffinity(0))

    def memory(self) -> dict[str, int]:
        """Bytes of memory."""
        found = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
        total, free = (int(found[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
        return {"usedBytes": total - free, "capacityBytes": total}

    def storage(self) -> dict[str, int]:
        """Bytes of the disk that has the server's data."""
        usage = shutil.disk_usage(self.root)
        return {"usedBytes": usage.used, "capacityBytes": usage.total}
