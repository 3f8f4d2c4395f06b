"""Starting programs: arguments, environment, working directory, files, and what is refused."""

from dataclasses import replace

import anyio
import pytest

from atoll.core.errors import InvalidRequest
from atoll.core.model import ProcessSpec
from atoll.core.ports import Backend, Sandbox
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import Done, fresh, program, read, run, script

ODD_ARGUMENTS = (
    "",
    " ",
    "two words",
    "line\nbreak",
    "-n",
    "--",
    "*",
    "$HOME",
    "'",
    '"',
    "back\\slash",
    "ünïcödé → 日本 🐚",
    "\udcff\udcfe",
    "",
)
LONG = 100_000


class StartCases(Cases):
    """`Sandbox.start`."""

    theme_needs = ("programs",)

    @pytest.mark.parametrize("argument", ODD_ARGUMENTS)
    async def test_odd_arguments(self, box: Sandbox, argument: str) -> None:
        done = await run(box, program("printf", "[%s]", "a", argument, "b"))
        assert done.stdout == b"[a][" + argument.encode("utf-8", "surrogateescape") + b"][b]"

    async def test_a_very_long_argument(self, box: Sandbox) -> None:
        done = await run(box, program("printf", "%s", "x" * LONG))
        assert done.stdout == b"x" * LONG

    async def test_many_arguments(self, box: Sandbox) -> None:
        done = await run(box, program("printf", "%s,", *map(str, range(2000))))
        assert done.stdout == b"".join(b"%d," % number for number in range(2000))

    @pytest.mark.parametrize(
        "argv", [(), ("",), ("no-such-program",), ("/no/such/program",), ("/tmp",), ("tr\0ue",)]
    )
    async def test_what_is_not_a_program(self, box: Sandbox, argv: tuple[str, ...]) -> None:
        with pytest.raises(InvalidRequest):
            await box.start(ProcessSpec(argv))

    async def test_a_nul_in_an_argument(self, box: Sandbox) -> None:
        with pytest.raises(InvalidRequest):
            await box.start(program("echo", "a\0b"))

    async def test_a_refused_start_leaves_nothing(self, box: Sandbox) -> None:
        for _ in range(20):
            with pytest.raises(InvalidRequest):
                await box.start(program("no-such-program"))
        assert (await run(box, program("echo", "fine"))).stdout == b"fine\n"

    @needs("processes")
    async def test_a_script_of_ones_own(self, box: Sandbox, place: str) -> None:
        path = f"{place}/own"
        await box.files.write(path, b"#!/bin/sh\necho own\n")
        with pytest.raises(InvalidRequest):
            await box.start(program(path))
        await box.files.write(path, b"#!/bin/sh\necho own\n", mode=0o755)
        assert (await run(box, program(path))).stdout == b"own\n"
        assert (await run(box, replace(program("./own"), cwd=place))).stdout == b"own\n"

    async def test_the_working_directory(self, box: Sandbox, place: str) -> None:
        assert (await run(box, program("pwd"))).stdout == b"/workspace\n"
        await box.files.mkdir(f"{place}/a b\u00fc")
        done = await run(box, replace(program("pwd"), cwd=f"{place}/a b\u00fc"))
        assert done.stdout.decode() == f"{place}/a b\u00fc\n"

    async def test_what_is_not_a_directory(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/file", b"")
        for cwd in (f"{place}/missing", f"{place}/file", "/a\0b"):
            with pytest.raises(InvalidRequest):
                await box.start(replace(program("pwd"), cwd=cwd))

    async def test_programs_of_one_sandbox_share_its_files(self, box: Sandbox, place: str) -> None:
        await run(box, script(f"echo shared > {place}/note"))
        assert (await run(box, program("cat", f"{place}/note"))).stdout == b"shared\n"
        assert await read(box.files, f"{place}/note") == b"shared\n"

    async def test_many_programs_at_once(self, box: Sandbox) -> None:
        seen: dict[int, Done] = {}

        async def one(number: int) -> None:
            seen[number] = await run(box, script(f"echo {number}; sleep 0.2; exit {number}"))

        started = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for number in range(16):
                tasks.start_soon(one, number)
        assert [seen[n].stdout for n in range(16)] == [b"%d\n" % n for n in range(16)]
        assert [seen[n].exit.code for n in range(16)] == list(range(16))
        assert anyio.current_time() - started < 3

    async def test_pids_are_unique(self, box: Sandbox) -> None:
        processes = [await box.start(program("true")) for _ in range(5)]
        with anyio.fail_after(10):
            for process in processes:
                await process.wait()
        assert len({process.pid for process in processes}) == 5


class EnvironmentCases(Cases):
    """The environment is built from nothing."""

    theme_needs = ("programs",)

    async def _env(self, box: Sandbox, spec: ProcessSpec) -> dict[str, str]:
        text = (await run(box, spec)).stdout.decode()
        parted = (line.partition("=") for line in text.splitlines())
        return {name: value for name, _, value in parted}

    async def test_nothing_of_the_server_is_inherited(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CONTRACT_SECRET", "secret")
        async with backend.open(fresh()) as box:
            env = await self._env(box, program("env"))
        assert not {"CONTRACT_SECRET", "PYTEST_CURRENT_TEST", "VIRTUAL_ENV"} & env.keys()
        assert "secret" not in env.values()
        assert env["PATH"]
        assert env["HOME"]

    async def test_the_environment_is_laid_over_that_of_the_sandbox(self, backend: Backend) -> None:
        async with backend.open(fresh(env={"A": "sandbox", "B": "sandbox"})) as box:
            spec = replace(program("env"), env={"B": "process", "C": "process"})
            env = await self._env(box, spec)
            assert (env["A"], env["B"], env["C"]) == ("sandbox", "process", "process")
            again = await self._env(box, program("env"))
            assert (again["B"], again.get("C")) == ("sandbox", None)

    @needs("bytes")
    async def test_odd_values(self, box: Sandbox) -> None:
        values = {
            "A": "",
            "B": "two words\nand = a line",
            "C": "ü→",
            "D": "\udcff",
            "E": "x" * 9999,
        }
        show = replace(script('printf "[%s]" "$A" "$B" "$C" "$D" "$E"'), env=values)
        shown = "".join(f"[{value}]" for value in values.values())
        assert (await run(box, show)).stdout == shown.encode("utf-8", "surrogateescape")

    @pytest.mark.parametrize("env", [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A": "x\0y"}])
    async def test_what_is_not_an_environment(self, box: Sandbox, env: dict[str, str]) -> None:
        with pytest.raises(InvalidRequest):
            await box.start(replace(program("env"), env=env))


class SpecFilesCases(Cases):
    """`ProcessSpec.files`."""

    theme_needs = ("programs",)

    async def test_files_are_there_before_the_program(self, box: Sandbox, place: str) -> None:
        files = {"main.txt": b"main ", "deep/er.bin": bytes(range(256)), f"{place}/abs": b" abs"}
        spec = replace(
            program("cat", "main.txt", "deep/er.bin", f"{place}/abs"), files=files, cwd=place
        )
        assert (await run(box, spec)).stdout == b"main " + bytes(range(256)) + b" abs"
        assert (await box.files.stat(f"{place}/main.txt")).mode == 0o644

    async def test_files_replace_older_ones(self, box: Sandbox, place: str) -> None:
        spec = replace(program("cat", "note"), cwd=place)
        assert (await run(box, replace(spec, files={"note": b"older"}))).stdout == b"older"
        assert (await run(box, replace(spec, files={"note": b"new"}))).stdout == b"new"

    async def test_the_program_may_change_its_files(self, box: Sandbox, place: str) -> None:
        spec = replace(script("echo more >> note; cat note"), files={"note": b"less\n"}, cwd=place)
        assert (await run(box, spec)).stdout == b"less\nmore\n"

    @needs("bytes")
    async def test_files_with_odd_names(self, box: Sandbox, place: str) -> None:
        name = "-odd \n'\u00fc\udcff"
        spec = replace(program("cat", f"./{name}"), files={name: b"odd"}, cwd=place)
        assert (await run(box, spec)).stdout == b"odd"

    @pytest.mark.parametrize("name", ["a\0b", "x" * 256, "d/" * 3000 + "x"])
    async def test_what_is_not_a_name(self, box: Sandbox, name: str) -> None:
        with pytest.raises(InvalidRequest):
            await box.start(replace(program("true"), files={name: b""}))

    @needs("python")
    async def test_python_runs_its_file(self, box: Sandbox, place: str) -> None:
        code = b"import sys\nprint(sys.argv, __name__)\n"
        spec = replace(program("python3", "main.py", "a"), files={"main.py": code}, cwd=place)
        assert (await run(box, spec)).stdout == b"['main.py', 'a'] __main__\n"
