"""Names the concrete classes, wires them, and runs the server. Nothing else does."""

import fcntl
import hashlib
import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.to_thread

from atoll.backends.namespace import NamespaceBackend, NamespaceConfig
from atoll.backends.plain import PlainBackend, PlainConfig
from atoll.backends.wasm import FirstUsable, Program, WasmBackend, WasmConfig
from atoll.backends.wasm.backend import WARM
from atoll.backends.wasm.early import ARCHIVES
from atoll.bootstrap_images import image_store, make_data_dir, served_images, warm_images
from atoll.core.chain import Head
from atoll.core.errors import AtollError, Unavailable
from atoll.core.ports import Backend
from atoll.core.store import Store
from atoll.core.uplinks import Uplinks
from atoll.dialects import DIALECTS, Chosen, chosen
from atoll.guest import scripts as guest_scripts
from atoll.http.app import create_app
from atoll.http.dialect import Spoken
from atoll.http.front import Front
from atoll.http.logs import configure_logs
from atoll.http.memory import give_back, settle
from atoll.http.middleware.boundary import single
from atoll.http.runner import bind, run_server
from atoll.http.services import Services
from atoll.http.translate import bounds
from atoll.images import languages as language_table
from atoll.images import wasm as wasm_images
from atoll.images.catalog import ImageCatalog
from atoll.network.names import Upstream
from atoll.network.uplinks import RootUplinks
from atoll.service.audit import Audit
from atoll.service.audit_check import Verdict, check_files, check_store
from atoll.service.backends import Backends
from atoll.service.clock import Clock, SystemClock
from atoll.service.endings import Endings
from atoll.service.executions import Executions
from atoll.service.files import FilesOf
from atoll.service.images import ImagesOf
from atoll.service.janitor import Janitor, Upkeep
from atoll.service.journal import Journal
from atoll.service.keeper import Keeper
from atoll.service.keys import KeyQuotas, Keys
from atoll.service.languages import Languages
from atoll.service.networks import Networks
from atoll.service.outputs import OutputLogs
from atoll.service.pool import Pool, Shape, Tuning, Warm
from atoll.service.ports import Ports
from atoll.service.preludes import DENO, NODE, PLACE, PYTHON, Preludes
from atoll.service.processes import Processes
from atoll.service.quotas import Quotas
from atoll.service.reconcile import Reconciler
from atoll.service.retention import Retention
from atoll.service.sandboxes import Sandboxes
from atoll.service.scripts import Scripts
from atoll.service.snapshots import Snapshots
from atoll.settings import Settings, SettingsError
from atoll.storage import SqlStore

INTERRUPTED = 130


def _namespace(settings: Settings) -> Backend:
    return NamespaceBackend(
        NamespaceConfig(
            data_dir=settings.data_dir,
            uid=settings.uid_base,
            images=image_store(settings),
            preload=(
                *settings.preload_sets,
                *(each.preload for each in DIALECTS.values() if each.preload),
            ),
            binds=(
                *language_table.beside(language_table.load()),
                *wasm_images.program(),
                (str(Path(guest_scripts.__path__[0])), PLACE),
                *(pair for each in DIALECTS.values() for pair in each.files()),
            ),
            uplinks=_uplinks(settings),
        )
    )


def _uplinks(settings: Settings) -> Uplinks | None:
    """What gives sandboxes a network; nothing of it is touched where no mode needs one."""
    if not settings.networked:
        return None
    owner = hashlib.sha256(os.fsencode(settings.data_dir.resolve())).hexdigest()
    upstream = Upstream([str(each) for each in settings.network_dns])
    alias = str(settings.network_alias or "")
    return RootUplinks(owner, settings.network_guarded, ask=upstream.ask, alias=alias)


def wasm_backend(
    settings: Settings,
    scratch: Path | None = None,
    programs: Mapping[str, Program] | None = None,
) -> WasmBackend:
    """WebAssembly in workers of its own, the strongest that this host and the operator allow.

    `scratch` is for those, when not a server; `programs` are all languages unless given.
    """
    state = settings.data_dir / "wasm"
    namespace = NamespaceBackend(
        NamespaceConfig(
            data_dir=scratch or state,
            uid=settings.uid_base,
            preload=(WARM,),
            binds=(*wasm_images.program(), *wasm_images.state(state)),
        )
    )
    plain = PlainBackend(
        PlainConfig(
            data_dir=scratch or state,
            uid=settings.uid_base,
            library=wasm_images.library(),
            binds=(*wasm_images.runner(), *wasm_images.state(state)),
        )
    )
    workers: dict[str, Backend] = {"namespace": namespace, "plain": plain}
    workers["auto"] = FirstUsable((namespace, plain))
    return WasmBackend(
        WasmConfig(state, _wasm_programs() if programs is None else programs),
        workers[settings.wasm_workers],
    )


def _wasm_programs() -> Mapping[str, Program]:
    found: dict[str, Program] = {}
    python, quickjs = wasm_images.python(), wasm_images.quickjs()
    if python is not None:
        place = "/opt/python"
        found["python3"] = found["python"] = Program(
            python,
            directories=((f"{wasm_images.STATE}/python", place),),
            rehearsal=("python3", "-c", "pass"),
            starts="python",
            env={
                "PYTHONPATH": ":".join(f"{place}/{name}" for name in ARCHIVES),
                "PYTHONUNBUFFERED": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )
    if quickjs is not None:
        found["qjs"] = found["node"] = Program(
            quickjs, call="quickjs", rehearsal=("qjs",), starts="quickjs"
        )
    return found


_BACKENDS: Mapping[str, Callable[[Settings], Backend]] = {
    "namespace": _namespace,
    "wasm": wasm_backend,
}


def backends_of(settings: Settings) -> Sequence[Backend]:
    """The backends that the operator named, in that order; not entered yet.

    Called before the event loop runs: what must be forked from a quiet process is forked here.
    """
    known = ", ".join(_BACKENDS)
    problems = [
        f"backends has {name!r}; there is: {known}."
        for name in settings.backends
        if name not in _BACKENDS
    ]
    if problems:
        raise SettingsError(problems)
    return [_BACKENDS[name](settings) for name in settings.backends]


@asynccontextmanager
async def speaking(
    front: Front, choices: Sequence[Chosen], sockets: Mapping[str, Sequence[socket.socket]]
) -> AsyncGenerator[Sequence[Spoken], None]:
    """All dialects, open for the length of the block, each with the listeners of its own."""
    async with AsyncExitStack() as stack:
        yield [
            Spoken(
                name=each.dialect.name,
                app=await stack.enter_async_context(each.dialect.open(front, each.options)),
                sockets=sockets.get(each.dialect.name, ()),
                guarded=each.dialect.guards(each.options),
            )
            for each in choices
        ]


@asynccontextmanager
async def build(
    settings: Settings,
    *,
    backends: Sequence[Backend] | None = None,
    clock: Clock | None = None,
) -> AsyncGenerator[Services, None]:
    """All services, open for the length of the block. What they hold is given up in reverse.

    Raises `Unavailable` when the data directory or the database cannot be used.
    """
    kinds = backends_of(settings) if backends is None else backends
    await anyio.to_thread.run_sync(make_data_dir, settings.data_dir)
    table = await anyio.to_thread.run_sync(language_table.load)
    languages = Languages(
        table,
        available=lambda each: language_table.locate(each) is not None,
        own={WasmBackend.name: await anyio.to_thread.run_sync(_wasm_programs)},
        preludes=Preludes(await anyio.to_thread.run_sync(_preludes)),
    )
    images = await anyio.to_thread.run_sync(served_images, settings)
    async with AsyncExitStack() as stack:
        stack.enter_context(_claimed(settings.data_dir))
        store = await stack.enter_async_context(SqlStore.open(settings.url))
        for kind in kinds:
            if isinstance(kind, AbstractAsyncContextManager):
                await stack.enter_async_context(kind)
        services = _wire(stack, settings, languages, images, kinds, store, clock or SystemClock())
        yield await services


async def _wire(
    stack: AsyncExitStack,
    settings: Settings,
    languages: Languages,
    images: ImageCatalog,
    kinds: Sequence[Backend],
    store: Store,
    clock: Clock,
) -> Services:
    backends = Backends(kinds, clock=clock)
    audit = await _audit(stack, settings, store, clock)
    logs = await stack.enter_async_context(
        OutputLogs(root=settings.data_dir / "sandboxes-logs", limit_bytes=settings.output_log_bytes)
    )
    keeper = Keeper(
        store=store,
        backends=backends,
        audit=audit,
        clock=clock,
        stop_grace_s=settings.stop_grace_s,
    )
    pool = Pool(
        backends=backends,
        clock=clock,
        size=settings.pool_size,
        max_running=settings.max_running,
        max_queued=settings.max_queued,
        queue_timeout_s=settings.queue_timeout_s,
        warm=[
            *await anyio.to_thread.run_sync(_warm, settings),
            *await warm_images(settings, images),
        ],
        tuning=Tuning(drain_s=settings.drain_s),
    )
    endings = Endings(
        store=store, keeper=keeper, backends=backends, logs=logs, audit=audit, clock=clock
    )
    upkeep = Upkeep(interval_s=settings.janitor_interval_s, keep_ended_s=settings.keep_ended_s)
    quotas = Quotas()
    sandboxes = Sandboxes(
        store=store,
        keeper=keeper,
        backends=backends,
        endings=endings,
        audit=audit,
        clock=clock,
        profiles=settings.profile_set,
        images=images,
    )
    janitor = Janitor(
        store=store,
        keeper=keeper,
        endings=endings,
        reconciler=Reconciler(
            store=store,
            keeper=keeper,
            backends=backends,
            endings=endings,
            logs=logs,
            clock=clock,
            grace_s=upkeep.grace_s,
            held_elsewhere=pool.held_ids,
        ),
        archiver=sandboxes.archiver,
        audit=audit,
        clock=clock,
        upkeep=upkeep,
    )
    image_service = ImagesOf(images=images, names=images, store=store, audit=audit)
    networks = Networks(sandboxes=sandboxes, keeper=keeper, backends=backends, audit=audit)
    await stack.enter_async_context(keeper)
    if settings.networked:
        await stack.enter_async_context(networks)
    await stack.enter_async_context(janitor)
    await stack.enter_async_context(pool)
    await stack.enter_async_context(image_service)
    processes = Processes(
        sandboxes=sandboxes,
        keeper=keeper,
        store=store,
        logs=logs,
        audit=audit,
        quotas=quotas,
        clock=clock,
    )
    return Services(
        executions=Executions(
            pool=pool,
            backends=backends,
            languages=languages,
            audit=audit,
            quotas=quotas,
            clock=clock,
            bounds=bounds(settings),
            images=images,
        ),
        sandboxes=sandboxes,
        processes=processes,
        scripts=Scripts(
            sandboxes=sandboxes,
            processes=processes,
            languages=languages,
            keeper=keeper,
        ),
        files=FilesOf(sandboxes=sandboxes, audit=audit),
        ports=Ports(sandboxes=sandboxes, audit=audit),
        images=image_service,
        networks=networks,
        snapshots=Snapshots(
            store=store,
            keeper=keeper,
            backends=backends,
            endings=endings,
            sandboxes=sandboxes,
            audit=audit,
            clock=clock,
        ),
        languages=languages,
        backends=backends,
        keys=Keys(
            store=store,
            clock=clock,
            audit=audit,
            defaults=KeyQuotas(settings.max_sandboxes, settings.max_concurrent),
        ),
        audit=audit,
        quotas=quotas,
        pool=pool,
        keeper=keeper,
        janitor=janitor,
        store=store,
        clock=clock,
    )


def _preludes() -> dict[str, bytes]:
    """What is put before programs, by name."""
    place = Path(guest_scripts.__path__[0])
    return {name: (place / name).read_bytes() for name in (DENO, NODE, PYTHON)}


async def _audit(stack: AsyncExitStack, settings: Settings, store: Store, clock: Clock) -> Audit:
    """The log, its copy in a file, and how long it is kept."""
    journal: Journal | None = None
    if settings.audit_file is not None:
        journal = Journal(settings.audit_file, sync=settings.audit_file_sync)
        await stack.enter_async_context(journal)
    audit = await stack.enter_async_context(Audit(store=store, clock=clock, journal=journal))
    keep_s, at_most = settings.audit_keep_s, settings.audit_max_events
    if keep_s is not None or at_most is not None:
        await stack.enter_async_context(
            Retention(store=store, clock=clock, keep_s=keep_s, at_most=at_most)
        )
    return audit


def _warm(settings: Settings) -> list[Warm]:
    """What the pool keeps ready: for the first backend, each set of modules, and WebAssembly."""
    kinds = [Warm(), *(Warm(Shape(preload=each)) for each in settings.preload_sets)]
    if WasmBackend.name in settings.backends[1:] and wasm_images.program():
        kinds.append(Warm(size=min(2, settings.pool_size), backend=WasmBackend.name))
    return kinds


@contextmanager
def _claimed(directory: Path) -> Generator[None, None, None]:
    """Hold the data directory: two servers in one would each take the other's for leftovers."""
    try:
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(
            f"The data directory {directory} cannot be used: {error.strerror}. "
            "Choose another with --data-dir."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Unavailable(f"Another server uses the data directory {directory}.") from None
    finally:
        os.close(lock)


def pull_wasm(settings: Settings) -> int:
    """Compile the languages of the wasm backend ahead; the exit code. Tells it line by line.

    Beside a running server too: both write whole files of the same names.
    """

    async def main() -> None:
        with TemporaryDirectory(prefix="atoll-pull-") as scratch:
            async with wasm_backend(settings, Path(scratch)) as backend:
                await backend.pull(lambda line: print(line, flush=True))  # noqa: T201

    try:
        make_data_dir(settings.data_dir)
        anyio.run(main)
    except (AtollError, ExceptionGroup) as error:
        return _fail(error)
    return 0


def audit_verdict(settings: Settings, files: Sequence[Path], heads: Sequence[Head]) -> Verdict:
    """Check the audit log: the database's chain, or of files in their order. `AtollError`.

    Beside a running server too, and without one.
    """
    if files:
        return check_files(files, heads)

    async def main() -> Verdict:
        async with SqlStore.open(settings.url) as store:
            return await check_store(store, heads)

    if settings.database_url is None and not (settings.data_dir / "atoll.db").exists():
        raise Unavailable(f"There is no database in {settings.data_dir}.")
    return anyio.run(main)


def serve(settings: Settings) -> int:
    """Run the server until it is interrupted; the exit code. Says on stderr what went wrong."""
    configure_logs(settings)
    give_back()
    try:
        choices = chosen(settings)
        backends = backends_of(settings)
        with ExitStack() as listening:
            sockets = listening.enter_context(bind(settings.host, settings.port))
            others = {
                each.dialect.name: listening.enter_context(bind(*each.address))
                for each in choices
                if each.address is not None
            }

            async def main() -> None:
                async with build(settings, backends=backends) as services:
                    app = create_app(services, settings)
                    async with speaking(app.state.front, choices, others) as spoken:
                        settle()
                        await run_server(app, settings, sockets, spoken)

            anyio.run(main, backend_options={"use_uvloop": True})
    except (SettingsError, AtollError, ExceptionGroup) as error:
        return _fail(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _fail(error: Exception) -> int:
    """Say what is wrong in sentences, if we know it; what we do not know is raised again."""
    cause = single(error)
    if isinstance(cause, SettingsError):
        problems = cause.problems
    elif isinstance(cause, AtollError):
        problems = (cause.detail,)
    else:
        raise error
    for problem in problems:
        sys.stderr.write(f"atoll: {problem}\n")
    return 1
