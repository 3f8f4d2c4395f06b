"""What a warm program finds when it starts is what `python3` would have given it."""

import pytest

from atoll.core.ports import Backend
from tests.guest.twice import Snippet, same, seen

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

SHOW = "import sys\nprint(sys.argv, sys.orig_argv, sys.path, __name__, __file__)\n"
PACKAGE = {
    "pack/__init__.py": "print('init', __name__)\n",
    "pack/__main__.py": "import sys\nfrom . import side\n"
    "print(sys.argv, sys.path[0], __name__, __package__, __spec__.name, __file__)\n",
    "pack/side.py": "print('side', __name__)\n",
}

CASES: dict[str, str | Snippet] = {
    "globals": "print({k: type(v).__name__ for k, v in globals().items()})\n"
    "print(__loader__ if isinstance(__loader__, type) else type(__loader__), __spec__, __doc__)\n"
    "print(__package__, __cached__, __annotations__, __builtins__)\n",
    "loader": "print(__loader__.name, __loader__.path, __loader__.get_source('__main__'))\n",
    "globals of -c": Snippet(argv=("-c", "print(list(globals()), __loader__, __spec__)")),
    "docstring": "'''a docstring'''\nprint(__doc__)\n",
    "annotations": "x: int = 1\nprint(__annotations__)\n",
    "a future": "from __future__ import annotations\nx: nothing\nprint(__annotations__)\n",
    "arguments": Snippet(SHOW, argv=("main.py", "a", "-b", "--", "ü", "")),
    "dot": Snippet(SHOW, argv=("./main.py",)),
    "dots": Snippet(SHOW, argv=("../workspace/./main.py",)),
    "absolute": Snippet(SHOW, argv=("/workspace/main.py", "x")),
    "sub directory": Snippet(
        "",
        argv=("deep/er/run.py",),
        files={"deep/er/run.py": SHOW + "import side", "deep/er/side.py": "print(__file__)"},
    ),
    "link to a script": Snippet(
        SHOW,
        argv=("links/run.py",),
        setup="mkdir -p links real; cp main.py real/; ln -s ../real/main.py links/run.py",
    ),
    "a script without a suffix": Snippet(argv=("tool",), files={"tool": SHOW}),
    "-c": Snippet(argv=("-c", "import sys; print(sys.argv, sys.orig_argv, sys.path)", "a", "-b")),
    "-c imports from here": Snippet(argv=("-c", "import side"), files={"side.py": "print(1)"}),
    "-c with odd bytes": Snippet(argv=("-c", "print('\udcff')")),
    "-c empty": Snippet(argv=("-c", "")),
    "-m module": Snippet(argv=("-m", "json.tool"), stdin=b'{"b": [1, 2]}'),
    "-m module that fails": Snippet(argv=("-m", "json.tool"), stdin=b"{"),
    "-m package": Snippet(argv=("-m", "pack", "x"), files=PACKAGE),
    "-m inner": Snippet(argv=("-m", "pack.side"), files=PACKAGE),
    "-m own file": Snippet(SHOW, argv=("-m", "main", "x")),
    "-m missing": Snippet(argv=("-m", "nothing_here")),
    "-m not a package": Snippet(argv=("-m", "json.decoder.x")),
    "-m raises": Snippet("def f():\n    1 / 0\nf()\n", argv=("-m", "main")),
    "-m this": Snippet(argv=("-m", "this")),
    "-u": Snippet("print(1)\n" + SHOW, argv=("-u", "main.py")),
    "-u -c": Snippet(argv=("-u", "-c", "import sys; print(sys.orig_argv)")),
    "-I": Snippet(SHOW, argv=("-I", "main.py")),
    "from stdin": Snippet(argv=("-",), stdin=b"import sys; print(sys.argv, __name__)\n"),
    "no such script": Snippet(argv=("absent.py",)),
    "a directory": Snippet(argv=("app",), files={"app/__main__.py": SHOW}),
    "flags": "import sys\nprint(sys.flags, sys.warnoptions, sys._xoptions, sys.executable)\n"
    "print(sys.prefix, sys.base_prefix, sys.dont_write_bytecode, sys._base_executable)\n",
    "no bytecode": Snippet(
        "import sys\nprint(sys.flags.dont_write_bytecode, sys.dont_write_bytecode)\n",
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    ),
    "executable by path": Snippet(
        "import sys\nprint(sys.executable, sys.orig_argv)\n", python="/bin/python3"
    ),
    "meta_path": "import sys\nprint([getattr(f, '__name__', type(f)) for f in sys.meta_path])\n"
    "print(sys.path_hooks)\n",
    "no module of ours": "import sys\n"
    "print([n for n in sys.modules if 'atoll' in n or 'main' in n])\n"
    "print([n for n in vars(sys) if n.startswith('last')])\n",
    "open files": "import os\nprint(sorted(os.listdir('/proc/self/fd'), key=int))\n"
    "print([os.stat(n).st_mode for n in range(3)], os.get_inheritable(0))\n",
    "environment": "import os\nprint(dict(os.environ))\nos.system('env | sort | grep -v ^_=')\n",
    "environment given": Snippet(
        "import os, time\nprint(dict(os.environ), time.tzname, time.localtime(0)[:5])\n",
        env={"TZ": "Asia/Tokyo", "HOME": "/tmp", "A": "ü\udcff"},
    ),
    "a locale": Snippet(
        "import sys, locale\nprint(sys.stdin.encoding, locale.getlocale())\n",
        env={"LC_CTYPE": "POSIX"},
    ),
    "locale": "import locale, sys\nprint(locale.getlocale(), locale.getpreferredencoding())\n"
    "print(locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding(), 'ü')\n",
    "streams": "import sys\nfor s in (sys.stdin, sys.stdout, sys.stderr):\n"
    "    print(s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.write_through, s.newlines,"
    " s.isatty(), type(s.buffer), type(s.buffer.raw if hasattr(s.buffer, 'raw') else s.buffer))\n"
    "print(sys.stdout is sys.__stdout__, sys.stdin is sys.__stdin__)\n",
    "state of the process": "import os, resource, signal\n"
    "mask = os.umask(0)\nprint(mask, os.getcwd(), os.getuid(), os.getgroups())\n"
    "print([resource.getrlimit(n) for n in range(16)], os.getpid() == os.getsid(0))\n"
    "print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.set_wakeup_fd(-1))\n"
    "print([signal.getsignal(n) for n in range(1, 65) if n not in (32, 33)])\n",
    "name of the process": "print(open('/proc/self/comm').read(), __import__('os').readlink("
    "'/proc/self/exe'))\n",
    "blocked and ignored": "print([l for l in open('/proc/self/status') if l[:3] == 'Sig'])\n",
    "warnings": "import warnings\nprint(warnings.filters, warnings.showwarning.__module__)\n",
    "limits of python": "import sys, gc\nprint(sys.getrecursionlimit(), sys.getswitchinterval())\n"
    "print(gc.isenabled(), gc.get_threshold(), sys.gettrace(), sys.getprofile())\n"
    "print(sys.get_int_max_str_digits(), sys.excepthook, sys.displayhook, sys.unraisablehook)\n",
    "builtins": "import builtins\nprint(sorted(vars(builtins)))\nprint(exit, quit, 0)\n",
    "import main": "x = 7\nimport __main__\nprint(__main__.x, __main__.__dict__ is globals())\n",
    "site": "import site\nprint(site.ENABLE_USER_SITE, site.getusersitepackages())\n",
    "user site": Snippet(
        "import sys, mine\nprint(sys.path)\n",
        setup="d=$HOME/.local/lib/$(basename $(readlink /usr/bin/python3))/site-packages;"
        "mkdir -p $d; echo 'print(__file__)' > $d/mine.py; echo 'print(3)' > $d/usercustomize.py",
    ),
    "a virtual environment": Snippet(
        "import sys\nprint(sys.prefix, sys.executable, sys.path)\n",
        setup="python3 -m venv --without-pip env",
        env={"PATH": "/workspace/env/bin:/usr/bin:/bin"},
    ),
    "own python3": Snippet(
        setup="mkdir bin; printf '#!/bin/sh\\necho mine\\n' > bin/python3; chmod +x bin/python3",
        env={"PATH": "/workspace/bin:/usr/bin:/bin"},
    ),
    "python in bin": Snippet("import sys\nprint(sys.executable)\n", env={"PATH": "/bin:/usr/bin"}),
    "other cwd": Snippet(SHOW, argv=("/tmp/x.py",), files={"/tmp/x.py": SHOW}, cwd="/home/user"),
}  # fmt: skip

SHADOWING = {
    "json.py", "random.py", "types.py", "copy.py", "string.py", "enum.py", "operator.py", "re.py",
    "select.py", "collections/__init__.py", "typing.py", "os.py", "io.py", "time.py", "atoll.py",
    "datetime.py", "struct.py", "socket.py", "token.py", "site.py", "code.py", "abc.py",
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_both_ways_look_the_same(backend: Backend, name: str) -> None:
    await same(backend, CASES[name])


@pytest.mark.parametrize("file", sorted(SHADOWING))
@pytest.mark.parametrize("form", ["script", "command"])
async def test_a_file_shadows_a_module_or_does_not(backend: Backend, file: str, form: str) -> None:
    module = file.partition("/")[0].removesuffix(".py")
    code = f"import {module}\nprint({module}.__name__, getattr({module}, 'OWN', None))\n"
    own = {file: "OWN = 1\n"}
    argv = ("main.py",) if form == "script" else ("-c", code)
    await same(backend, Snippet(code, argv=argv, files=own, hide=r"line \d+|0x[0-9a-f]+"))


async def test_the_first_of_the_two_is_warm(backend: Backend) -> None:
    """Else all of the comparisons would compare nothing."""
    probe = Snippet("print('-c' in open('/proc/self/cmdline').read().split(chr(0)))\n")
    assert (await seen(backend, probe, warm=True)).stdout == "True\n"
    assert (await seen(backend, probe, warm=False)).stdout == "False\n"


@pytest.mark.parametrize(
    "code",
    [
        "import random\nprint(random.random())\n",
        "import os\nprint(os.urandom(8))\n",
        "import uuid\nprint(uuid.uuid4())\n",
        "import secrets\nprint(secrets.token_hex())\n",
        "import tempfile\nprint(tempfile.mktemp())\n",
        "import random\nprint(random.SystemRandom().random())\n",
    ],
)
async def test_chance_differs_from_run_to_run(backend: Backend, code: str) -> None:
    one = await seen(backend, Snippet(code), warm=True)
    two = await seen(backend, Snippet(code), warm=True)
    assert one.code == two.code == 0
    assert one.stdout != two.stdout
