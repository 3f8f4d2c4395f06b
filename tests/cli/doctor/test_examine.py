import json
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.cli.doctor import cgroups, kernel, namespaces, programs
from atoll.cli.doctor.finding import Finding, State
from atoll.cli.doctor.verdict import examine, usable_backends, workers

CLI = "import sys; from atoll.cli import main; sys.exit(main())"


def _found(*names: str) -> list[Finding]:
    return [Finding(name, State.YES, "", "") for name in names]


@pytest.mark.parametrize(
    ("names", "backends"),
    [
        (("namespaces as root", "seccomp", "python3 at /usr/bin"), ["namespace"]),
        (("namespaces without root", "seccomp", "python3 at /usr/bin"), ["namespace"]),
        (("namespaces as root", "python3 at /usr/bin"), []),
        (("namespaces as root", "seccomp"), []),
        (("seccomp", "python3 at /usr/bin"), []),
    ],
)
def test_what_the_namespace_backend_needs(names: tuple[str, ...], backends: list[str]) -> None:
    found = [each for each in usable_backends(_found(*names)) if each == "namespace"]
    assert found == backends


@pytest.mark.parametrize(
    ("names", "state", "said"),
    [
        (("namespaces as root", "seccomp", "python3 at /usr/bin"), State.YES, "namespace backend"),
        (("seccomp", "Landlock"), State.PARTLY, "seccomp and Landlock"),
        (("seccomp",), State.PARTLY, "neither namespaces nor Landlock"),
        (("Landlock",), State.NO, "nor seccomp"),
    ],
)
def test_what_webassembly_runs_in(names: tuple[str, ...], state: State, said: str) -> None:
    finding = workers(_found(*names))
    assert finding.state is state
    assert said in finding.detail
    assert ("wasm" in usable_backends(_found(*names))) is (state is not State.NO)


def test_every_finding_is_a_whole_line() -> None:
    for finding in examine().findings:
        assert finding.what
        assert finding.detail
        assert finding.consequence
        if finding.state is State.NO:
            assert finding.how, f"{finding.what} lacks its remedy"


@pytest.mark.needs("userns", "netns", "pidns")
def test_namespaces_agree_with_unshare() -> None:
    states = {finding.what: finding.there for finding in namespaces.probe()}
    assert states["namespaces without root"] or states.get("namespaces as root")


@pytest.mark.needs("cgroup1")
def test_version_1_groups_are_found() -> None:
    (finding,) = cgroups.probe()
    assert "v1 with" in finding.detail
    assert finding.state is not State.NO


def test_a_filter_can_be_installed_where_tests_run() -> None:
    there = {finding.what: finding.there for finding in kernel.probe()}
    assert there["seccomp"]


def test_a_program_that_does_not_run_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "node"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = {finding.what: finding for finding in programs.probe()}
    assert found["node"].state is State.NO
    assert "does not run" in found["node"].detail


def test_json_and_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLI, "doctor", "--json"],
        capture_output=True,
        timeout=20,
        check=False,
    )
    said = json.loads(done.stdout)
    assert done.returncode == (0 if said["usable"] else 1)
    assert said["usable"] == bool(said["backends"])
