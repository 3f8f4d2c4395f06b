"""What this dialect counts, in both forms of its `/metrics`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PREFIX = "wasmrun_agent_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RESULTS = ("success", "error", "timeout")
REASONS = ("concurrency", "payload", "unauthorized", "rate")
_LABELS = {"exec_total": "result", "exec_rejected_total": "reason"}
_HELP = {
    "exec_total": ("counter", "Executions by result."),
    "exec_duration_ms": ("summary", "How long executions took."),
    "output_truncated_total": ("counter", "Executions whose output was cut."),
    "sessions_created_total": ("counter", "Sessions made."),
    "exec_rejected_total": ("counter", "Requests refused, by reason."),
    "sessions_active": ("gauge", "Sessions that have not expired."),
    "sessions_total": ("gauge", "Sessions, with the expired that are not swept yet."),
    "exec_in_flight": ("gauge", "Executions under way."),
    "sessions_disk_bytes": ("gauge", "Files of all sessions."),
    "workers_live": ("gauge", "Workers; one event loop serves all requests."),
    "requests_in_flight": ("gauge", "Requests under way."),
}


@dataclass
class Metrics:
    """Counters since the start, and what is under way."""

    results: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RESULTS, 0))
    rejected: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    duration_ms: int = 0
    truncated: int = 0
    executing: int = 0
    requests: int = 0

    def executed(self, kind: str, duration_ms: int, *, truncated: bool) -> None:
        """Count one that has ended."""
        self.results[kind] += 1
        self.duration_ms += duration_ms
        self.truncated += truncated

    def refuse(self, reason: str | None) -> None:
        """Count a request that was refused."""
        if reason in self.rejected:
            self.rejected[reason] += 1

    def flat(self, sessions: Mapping[str, int]) -> dict[str, Any]:
        """All numbers by name; `sessions` are those of the sessions."""
        return {
            "exec_total": dict(self.results),
            "exec_duration_ms_sum": self.duration_ms,
            "exec_duration_ms_count": sum(self.results.values()),
            "output_truncated_total": self.truncated,
            "sessions_created_total": sessions["created"],
            "exec_rejected_total": dict(self.rejected),
            "sessions_active": sessions["active"],
            "sessions_total": sessions["total"],
            "exec_in_flight": self.executing,
            "sessions_disk_bytes": sessions["disk_bytes"],
            "workers_live": 1,
            "requests_in_flight": self.requests,
        }

    def text(self, sessions: Mapping[str, int]) -> str:
        """The exposition for Prometheus."""
        flat = self.flat(sessions)
        lines: list[str] = []
        for name, (kind, sentence) in _HELP.items():
            lines += [f"# HELP {PREFIX}{name} {sentence}", f"# TYPE {PREFIX}{name} {kind}"]
            if kind == "summary":
                lines += [
                    f"{PREFIX}{name}_{end} {flat[f'{name}_{end}']}" for end in ("sum", "count")
                ]
                continue
            label = _LABELS.get(name)
            if label is None:
                lines.append(f"{PREFIX}{name} {flat[name]}")
            else:
                lines += [f'{PREFIX}{name}{{{label}="{key}"}} {n}' for key, n in flat[name].items()]
        return "\n".join(lines) + "\n"
