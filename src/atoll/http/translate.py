"""From bodies that are well-formed to what the service takes, within the operator's bounds."""

from dataclasses import replace
from typing import Any

from atoll.core.errors import Forbidden, InvalidRequest
from atoll.core.model import Isolation, Limits, NetworkPolicy, ProcessSpec, TtySize
from atoll.core.network import rules
from atoll.core.profiles import Profile
from atoll.core.records import SandboxRecord
from atoll.http.schemas.execution import (
    ExecuteRequest,
    LimitsIn,
    NetworkIn,
    Placement,
    Program,
    RunLimitsIn,
    RunRequest,
)
from atoll.http.schemas.process import ExecRequest, StartRequest
from atoll.http.schemas.sandbox import ChangeSandboxRequest, CreateSandboxRequest
from atoll.http.schemas.words import content_bytes
from atoll.service.execution import Execution
from atoll.service.languages import Languages
from atoll.service.planning import Bounds, plan
from atoll.service.requests import UNSET, ChangeSandbox, CreateSandbox
from atoll.service.structured import structured
from atoll.settings import Settings

_SHELL = ("sh", "-c")
_LIMITS = tuple(LimitsIn.model_fields)


class Translator:
    """Knows the operator's defaults and bounds, and names fields as the API does."""

    def __init__(self, settings: Settings, languages: Languages) -> None:
        self._settings = settings
        self._languages = languages
        self._most = settings.max_limits
        self._images = frozenset(settings.images)
        self._preloads = {frozenset(each): each for each in settings.preload_sets}
        self._bounds = bounds(settings)
        self._profiles = settings.profile_set

    def execution(self, request: ExecuteRequest | RunRequest) -> Execution:
        """A one-shot."""
        rules = self._profile(request)
        coded = request if isinstance(request, ExecuteRequest) else None
        limits = request.limits
        return Execution(
            argv=_argv(request.argv, request.command) if isinstance(request, RunRequest) else None,
            language=coded.language if coded else None,
            code=coded.code if coded else None,
            entry=coded.entry if coded else None,
            files=_files(request) if request.files else {},
            args=request.args,
            stdin=None if request.stdin is None else content_bytes(request.stdin),
            env=request.env,
            secrets=request.secrets,
            cwd=request.cwd,
            function=request.function if isinstance(request, RunRequest) else None,
            fuel=request.fuel,
            wall_s=self._wall(request.timeout_s),
            cpu_s=None if limits is None else limits.cpu_s,
            output_bytes=self._output(limits),
            limits=self._limits(limits, rules),
            image=self._image(request.image),
            preload=self._preload(request.preload),
            network=self._profiles.network(rules)
            if request.network is None
            else self.network(request.network),
            network_wished=request.network is None,
            backend=request.backend,
            min_isolation=_isolation(request, rules),
            structured=request.structured,
        )

    def create(self, request: CreateSandboxRequest) -> CreateSandbox:
        """A persistent sandbox. Absent timeouts are the operator's; null is none."""
        self._profile(request)
        given = request.model_fields_set
        idle = request.idle_timeout_s if "idle_timeout_s" in given else None
        if "idle_timeout_s" not in given:
            idle = self._settings.default_idle_timeout_s
        life = request.lifetime_s if "lifetime_s" in given else self._settings.default_lifetime_s
        return CreateSandbox(
            name=request.name,
            image=self._image(request.image),
            profile=request.profile,
            changes=self._changes(request.limits),
            network=None if request.network is None else self.network(request.network),
            env=request.env,
            secrets=request.secrets,
            labels=request.labels,
            backend=request.backend,
            min_isolation=_isolation(request),
            idle_timeout_s=idle,
            lifetime_s=self._lease(life),
            auto_delete_s=request.auto_delete_s
            if "auto_delete_s" in given
            else self._settings.default_auto_delete_s,
            auto_archive_s=request.auto_archive_s
            if "auto_archive_s" in given
            else self._settings.default_auto_archive_s,
            base=request.base,
            ports=tuple(request.ports),
            preload=self._preload(request.preload),
        )

    def change(self, request: ChangeSandboxRequest) -> ChangeSandbox:
        """What a PATCH says; absent fields stay."""
        given = request.model_fields_set
        return ChangeSandbox(
            name=request.name if "name" in given else UNSET,
            labels=(request.labels or {}) if "labels" in given else UNSET,
            idle_timeout_s=request.idle_timeout_s if "idle_timeout_s" in given else UNSET,
            lifetime_s=self._lease(request.lifetime_s) if "lifetime_s" in given else UNSET,
            auto_delete_s=request.auto_delete_s if "auto_delete_s" in given else UNSET,
            auto_archive_s=request.auto_archive_s if "auto_archive_s" in given else UNSET,
            secrets=(request.secrets or {}) if "secrets" in given else UNSET,
        )

    async def program(
        self, request: ExecRequest, sandbox: SandboxRecord
    ) -> tuple[ProcessSpec, bytes | None]:
        """A program in a sandbox that is there, and what to feed it."""
        if request.language is not None:
            await self._languages.look_for(request.language)
        argv = None
        if request.language is None:
            argv = _argv(request.argv, request.command)
        elif request.entry is not None and request.entry not in request.files:
            language = self._languages.usable(
                request.language, image=sandbox.image, backend=sandbox.backend
            )
            argv = language.command(request.entry, request.args)
        coded = argv is None
        limits = RunLimitsIn(output_bytes=request.output_bytes)
        stdin = None if request.stdin is None else content_bytes(request.stdin)
        spec = plan(
            Execution(
                argv=argv,
                language=request.language if coded else None,
                code=request.code if coded else None,
                entry=request.entry if coded else None,
                files=_files(request) if request.files else {},
                args=request.args if request.language is None or coded else (),
                stdin=stdin,
                env=request.env,
                secrets=request.secrets,
                cwd=request.cwd,
                function=request.function,
                fuel=request.fuel,
                wall_s=self._wall(request.timeout_s),
                cpu_s=request.cpu_s,
                output_bytes=self._output(limits),
                limits=Limits(cpus=min(sandbox.limits.cpus, self._most.cpus)),
                image=sandbox.image,
            ),
            self._languages,
            self._bounds,
            sandbox.backend,
        )
        if request.structured:
            name = self._languages.name_of(request.language)
            spec = structured(spec, name, sandbox.image, self._languages.preludes)
        if isinstance(request, StartRequest):
            tty = request.tty
            spec = replace(
                spec,
                tty=None if tty is None else TtySize(tty.rows, tty.cols),
                stdin=spec.stdin or request.stdin_open or tty is not None,
            )
        return spec, stdin

    def _profile(self, request: Placement) -> Profile:
        return self._profiles.get(request.profile)

    def _limits(self, given: LimitsIn | None, rules: Profile) -> Limits:
        changes = self._changes(given)
        return replace(rules.limits, **changes) if changes else rules.limits

    def _changes(self, given: LimitsIn | None) -> dict[str, Any]:
        if given is None:
            return {}
        changes = {name: value for name in _LIMITS if (value := getattr(given, name)) is not None}
        for name, value in changes.items():
            most = getattr(self._most, name)
            if value > most:
                raise InvalidRequest(
                    f"limits.{name} may be at most {most:g} on this server.", field=f"limits.{name}"
                )
        return changes

    def _wall(self, given: float | None) -> float:
        if given is None:
            return self._settings.default_timeout_s
        most = self._settings.max_timeout_s
        if given > most:
            raise InvalidRequest(
                f"timeout_s may be at most {most:g} on this server.", field="timeout_s"
            )
        return given

    def _output(self, limits: RunLimitsIn | None) -> int:
        given = None if limits is None else limits.output_bytes
        if given is None:
            return self._settings.default_output_bytes
        most = self._settings.max_output_bytes
        if given > most:
            raise InvalidRequest(
                f"output_bytes may be at most {most} on this server.", field="limits.output_bytes"
            )
        return given

    def _lease(self, given: float | None) -> float | None:
        most = self._settings.max_lifetime_s
        if most is None:
            return given
        if given is not None and given > most:
            raise InvalidRequest(
                f"lifetime_s may be at most {most:g} on this server.", field="lifetime_s"
            )
        return most if given is None else given

    def _image(self, name: str) -> str:
        if name in self._images or "*" in self._images:
            return name
        allowed = ", ".join(sorted(self._images)) or "none"
        raise InvalidRequest(
            f"The image {name[:100]!r} is not offered here; there is: {allowed}.", field="image"
        )

    def _preload(self, modules: tuple[str, ...]) -> tuple[str, ...]:
        if not modules:
            return ()
        found = self._preloads.get(frozenset(modules))
        if found is None:
            offered = "; ".join(", ".join(each) for each in self._preloads.values()) or "none"
            raise InvalidRequest(
                f"preload must be a set that the operator keeps ready; there is: {offered}.",
                field="preload",
            )
        return found

    def network(self, given: NetworkIn) -> NetworkPolicy:
        """A policy, of a mode that the operator allows."""
        if given.mode not in self._settings.network_modes and given.mode != "none":
            raise Forbidden(f"The operator of this server does not allow network {given.mode!r}.")
        policy = NetworkPolicy(given.mode, given.allow, given.deny)
        rules(policy)  # raises for what is no policy
        return policy


def bounds(settings: Settings) -> Bounds:
    """The operator's bounds in the service's words."""
    return Bounds(
        code_bytes=settings.max_body_bytes,
        files_bytes=settings.max_body_bytes,
        stdin_bytes=settings.max_body_bytes,
        wall_s=settings.max_timeout_s,
        output_bytes=settings.max_output_bytes,
        batch=settings.max_batch,
        limits=settings.max_limits,
    )


def _isolation(request: Placement, rules: Profile | None = None) -> Isolation | None:
    """The least that the request accepts, or its profile if that asks for more."""
    wanted = request.min_isolation
    own = None if wanted is None else Isolation[wanted.upper()]
    least = None if rules is None else rules.min_isolation
    return least if own is None or (least is not None and least > own) else own


def _argv(argv: tuple[str, ...] | None, command: str | None) -> tuple[str, ...] | None:
    return (*_SHELL, command) if command is not None else argv


def _files(request: Program) -> dict[str, bytes]:
    return {path: content_bytes(content) for path, content in request.files.items()}
