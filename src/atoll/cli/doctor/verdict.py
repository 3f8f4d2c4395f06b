"""Which backends can be used, from what was found."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.cli.doctor import cgroups, kernel, namespaces, programs
from atoll.cli.doctor.finding import Finding


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything found, and the backends that follow from it."""

    findings: Sequence[Finding]
    backends: Sequence[str]

    @property
    def usable(self) -> bool:
        """Whether this host can run anything at all."""
        return bool(self.backends)


def examine() -> Examination:
    """Probe everything; about a second."""
    findings = [*namespaces.probe(), *cgroups.probe(), *kernel.probe(), *programs.probe()]
    return Examination(findings, usable_backends(findings))


def usable_backends(findings: Sequence[Finding]) -> list[str]:
    """Backends this version has and this host can carry."""
    there = {finding.what for finding in findings if finding.there}
    namespace = (
        bool({"namespaces as root", "namespaces without root"} & there)
        and {
            "seccomp",
            "python3 at /usr/bin",
        }
        <= there
    )
    able = {
        "namespace": namespace,
        # The engine runs in sandboxes of that backend.
        "wasm": namespace and importlib.util.find_spec("wasmtime") is not None,
        "gvisor": "runsc (gVisor)" in there,
        "docker": "docker engine" in there,
        "microvm": "qemu" in there,
    }
    return [name for name, can in able.items() if can and _built(name)]


def _built(name: str) -> bool:
    try:
        return importlib.util.find_spec(f"atoll.backends.{name}") is not None
    except ModuleNotFoundError:
        return False
