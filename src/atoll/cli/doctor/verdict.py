"""Which backends can be used, from what was found."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.cli.doctor import cgroups, kernel, namespaces, programs
from atoll.cli.doctor.finding import Finding, State


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
    findings.append(workers(findings))
    return Examination(findings, usable_backends(findings))


def workers(findings: Sequence[Finding]) -> Finding:
    """What the engine of WebAssembly would run in."""
    there = {finding.what for finding in findings if finding.there}
    what = "WebAssembly workers"
    if importlib.util.find_spec("wasmtime") is None:
        consequence = "no WebAssembly, and no isolation above shared_kernel by it"
        how = "pip install 'atoll[wasm]'"
        return Finding(what, State.NO, "wasmtime is not installed", consequence, how)
    if _namespace(there):
        return Finding(
            what, State.YES, "sandboxes of the namespace backend", "a guest must break two walls"
        )
    if "seccomp" not in there:
        consequence = "nothing would hold a broken engine, so the wasm backend refuses"
        how = "a kernel built with CONFIG_SECCOMP_FILTER"
        return Finding(what, State.NO, "neither namespaces nor seccomp", consequence, how)
    if "Landlock" in there:
        detail = "plain processes with seccomp and Landlock, since there are no namespaces"
        return Finding(what, State.PARTLY, detail, "a thinner second wall behind the engine")
    return Finding(
        what,
        State.PARTLY,
        "plain processes with seccomp, with neither namespaces nor Landlock",
        "a guest that breaks the engine can open files of the workers' user",
        "Linux 5.13 or newer, booted with lsm=landlock,…",
    )


def usable_backends(findings: Sequence[Finding]) -> list[str]:
    """Backends this version has and this host can carry."""
    there = {finding.what for finding in findings if finding.there}
    able = {
        "namespace": _namespace(there),
        "wasm": workers(findings).state is not State.NO,
        "gvisor": "runsc (gVisor)" in there,
        "docker": "docker engine" in there,
        "microvm": "qemu" in there,
    }
    return [name for name, can in able.items() if can and _built(name)]


def _namespace(there: set[str]) -> bool:
    either = bool({"namespaces as root", "namespaces without root"} & there)
    return either and {"seccomp", "python3 at /usr/bin"} <= there


def _built(name: str) -> bool:
    try:
        return importlib.util.find_spec(f"atoll.backends.{name}") is not None
    except ModuleNotFoundError:
        return False
