"""Poisoning the zygote, the next run or the neighbour, and state that two runs share."""

import json

import pytest

from atoll.backends.namespace import NamespaceBackend
from atoll.testing.backend.running import fresh, program, run
from tests.security.probe import attack, inside

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

POISONS = {
    "modules": (
        "sys.modules['json'].dumps = None; sys.modules['evil'] = type(sys)('e')",
        "[callable(json.dumps), 'evil' in sys.modules]", [True, False], [False, True],
    ),
    "builtins": (
        "import builtins; builtins.len = lambda x: 42", "len('ab')", 2, 42,
    ),
    "sys.path": (
        "sys.path.insert(0, '/tmp/evil'); sys.meta_path.insert(0, object())",
        "['/tmp/evil' in sys.path, type(sys.meta_path[0]) is object]",
        [False, False], [True, True],
    ),
    "environment": (
        "os.environ['EVIL'] = '1'; libc.setenv(b'EVIL', b'1', 1)",
        "'EVIL' in os.environ", False, True,
    ),
    "signal handlers": (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGUSR1, print)",
        "[signal.getsignal(s) in (signal.SIG_IGN, print) for s in (15, 10)]",
        [False, False], [True, True],
    ),
    "signal mask": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, {15})",
        "len(signal.pthread_sigmask(signal.SIG_BLOCK, set()))", 0, 1,
    ),
    "working directory and umask": (
        "os.chdir('/tmp'); os.umask(0)", "[os.getcwd(), os.umask(0)]",
        ["/workspace", 0o022], ["/tmp", 0],
    ),
    "exit handlers": (
        "import atexit; atexit.register(int)", "__import__('atexit')._ncallbacks()", 0, 1,
    ),
    "open files": (
        "os.dup2(1, 77)", "attempt(os.fstat, 77)", "EBADF", "ok",
    ),
    "files": (
        "[put(d + '/evil') for d in ('/tmp', '/workspace', '/dev/shm', '/run')]",
        "[os.path.exists(d + '/evil') for d in ('/tmp', '/workspace', '/dev/shm', '/run')]",
        [False] * 4, [True] * 4,
    ),
    "system v shared memory": (
        "libc.shmget(4711, ctypes.c_size_t(4096), 0o1666)",
        "text('/proc/sysvipc/shm').count('4711')", 0, 1,
    ),
    "system v semaphores and queues": (
        "libc.semget(4712, 1, 0o1666); libc.msgget(4712, 0o1666)",
        "[text(f'/proc/sysvipc/{n}').count('4712') for n in ('sem', 'msg')]", [0, 0], [1, 1],
    ),
    "limits": (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))",
        "__import__('resource').getrlimit(7)[0] < 10", False, True,
    ),
    "recursion, hooks and tracing": (
        "sys.setrecursionlimit(77); sys.excepthook = print; sys.settrace(lambda *a: None)",
        "[sys.getrecursionlimit(), sys.excepthook is print, sys.gettrace() is None]",
        [1000, False, True], [77, True, False],
    ),
    "garbage collector": (
        "import gc; gc.disable()", "__import__('gc').isenabled()", True, False,
    ),
    "locale and time zone": (
        "os.environ['TZ'] = 'XYZ-9'; time.tzset()", "time.tzname[0]", "UTC", "XYZ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", POISONS)
async def test_the_next_run_is_not_poisoned(backend: NamespaceBackend, kind: str) -> None:
    """The poison works in its own process; another one, opened before or after, is clean."""
    poison, look, clean, poisoned = POISONS[kind]
    keep = "say, write = json.JSONEncoder().encode, os.write\n"
    told = f"{keep}{poison}\nfound = {look}\nwrite(1, say(found).encode())"
    async with backend.open(fresh()) as before, backend.open(fresh()) as box:
        done = await attack(box, told)
        assert json.loads(done.stdout) == poisoned, done.stderr
        async with backend.open(fresh()) as after:
            for one in (before, after):
                assert await inside(one, f"tell({look})") == clean


async def test_a_killed_program_harms_no_other(backend: NamespaceBackend) -> None:
    """Not even one that crashes in native code, exhausts its stack or kills all it can."""
    for text in (
        "ctypes.string_at(1)",
        "os.kill(-1, 9)",
        "sys.setrecursionlimit(1 << 30)\nf = lambda: f()\nf()",
        "os.kill(os.getpid(), signal.SIGSEGV)",
    ):
        async with backend.open(fresh()) as box:
            done = await attack(box, text, wall_s=5)
            assert done.exit.code != 0
        async with backend.open(fresh()) as box:
            assert await inside(box, "tell('well')") == "well"


async def test_code_laid_in_the_way_is_not_run_by_the_init(backend: NamespaceBackend) -> None:
    """A kept sandbox's later programs may find planted modules; its init must not."""
    plant = """
evil = "open('/workspace/ran-as-' + str(__import__('os').getpid()), 'w')"
for name in ("json", "shutil", "tarfile", "socket", "atoll", "sitecustomize", "usercustomize",
             "encodings", "os"):
    for place in ("/workspace", "/tmp", "/", "/home/user/.local/lib/python3.11/site-packages"):
        attempt(lambda: os.makedirs(place, exist_ok=True))
        attempt(put, f"{place}/{name}.py", evil)
tell(os.path.exists("/workspace/json.py"))
"""
    spec = fresh(persistent=True)
    async with backend.open(spec) as box:
        assert await inside(box, plant, cwd="/home/user") is True
        await box.files.write("a/b", b"x")
        assert b"".join([part async for part in box.files.pack("a")])
        await box.files.remove("a", recursive=True)
    async with backend.open(spec) as box:
        await box.files.stat("json.py")
        ran = await run(box, program("sh", "-c", "ls /workspace | grep ran-as; true"))
        assert ran.stdout == b""
        await run(box, program("python3", "-c", "import json", wall_s=5))
        ran = await run(box, program("sh", "-c", "ls /workspace | grep ran-as; true"))
        assert b"ran-as-" in ran.stdout
        assert b"ran-as-1\n" not in ran.stdout
    await backend.destroy(spec.id)


RANDOM = {
    "random": "[random.random(), random.getrandbits(64), random.Random().random()]",
    "os.urandom": "[os.urandom(16).hex()]",
    "uuid": "[str(uuid.uuid4()), str(uuid.uuid1())]",
    "secrets": "[secrets.token_hex(), secrets.randbelow(1 << 60)]",
    "ssl": "[ssl.RAND_bytes(16).hex()]",
    "tempfile": "[tempfile.mktemp(), next(tempfile._get_candidate_names())]",
    "hashlib and hmac": "[hashlib.sha256(os.urandom(8)).hexdigest()]",
    "the kernel's own": "[text('/proc/sys/kernel/random/uuid')]",
}
IMPORTS = "import random, uuid, secrets, ssl, tempfile, hashlib\n"


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("preload", [(), ("ssl", "uuid", "secrets")], ids=["plain", "preloaded"])
async def test_two_runs_share_no_random_state(
    backend: NamespaceBackend, kind: str, preload: tuple[str, ...]
) -> None:
    seen: list[str] = []
    for _ in range(3):
        async with backend.open(fresh(preload=preload)) as box:
            for value in await inside(box, f"{IMPORTS}tell({RANDOM[kind]})"):
                seen.append(str(value))
    assert len(set(seen)) == len(seen)
    async with backend.open(fresh(preload=preload)) as box:
        seeded = await inside(box, "import random; random.seed(1); tell(random.random())")
    assert seeded == 0.13436424411240122


@pytest.mark.needs("numpy")
@pytest.mark.parametrize("preload", [(), ("numpy",)], ids=["plain", "preloaded"])
async def test_two_runs_share_no_random_state_of_numpy(
    backend: NamespaceBackend, preload: tuple[str, ...]
) -> None:
    seen: list[float] = []
    for _ in range(2):
        async with backend.open(fresh(preload=preload)) as box:
            seen += await inside(
                box,
                "import numpy\n"
                "tell([numpy.random.random(), float(numpy.random.default_rng().random())])",
            )
    assert len(set(seen)) == len(seen)
