"""What programs do in between: read, write, fork, import, look at themselves."""

import pytest

from atoll.core.ports import Backend
from tests.guest.twice import Snippet, same

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

CASES: dict[str, str | Snippet] = {
    "lines of stdin": Snippet("import sys\nfor l in sys.stdin: print([l])\n", stdin=b"a\nb\r\nc"),
    "input": Snippet("print(input('> '), input())\ninput()\n", stdin=b"one\ntwo\n"),
    "raw stdin": Snippet("import sys\nprint(sys.stdin.buffer.read())\n", stdin=bytes(range(256))),
    "stdin that is not utf-8": Snippet("print(ascii(input()))\n", stdin=b"\xff\xfe\n"),
    "stdin by descriptor": Snippet("import os\nprint(os.read(0, 9), os.read(0, 9))\n", stdin=b"x"),
    "no stdin": "import sys\nprint(repr(sys.stdin.read()))\ninput()\n",
    "out of order": "import sys\nfor n in range(5):\n    print(n)\n    print(n, file=sys.stderr)\n",
    "without a newline": "print('a', end='')\nprint('b', end='', flush=True)\n",
    "bytes": "import sys\nsys.stdout.buffer.write(bytes(range(256)))\nprint('ü', '\\udcff')\n",
    "a surrogate": "print('\\ud800')\n",
    "much": "print('x' * 300_000)\n",
    "past Python": "import os\nprint('a')\nos.write(1, b'b\\n')\nos.system('echo c')\nprint('d')\n",
    "a subprocess": "import subprocess as s, sys\nprint(s.run([sys.executable, '-c', "
    "'import sys; print(sys.argv, sys.path[0] == str())'], capture_output=True).stdout)\n",
    "a subprocess of the shell": "import subprocess as s\nprint(s.getstatusoutput('exit 3'))\n",
    "a fork": "import os\npid = os.fork()\nif pid == 0:\n    print('child')\nelse:\n"
    "    os.waitpid(pid, 0)\n    print('parent')\n",
    "a fork that fails": "import os, sys\npid = os.fork()\nif pid == 0:\n    sys.exit(5)\n"
    "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
    "an exec": "import os\nos.execvp('python3', ['python3', '-c', 'print(1)'])\n",
    "an exec of itself": "import os, sys\nif len(sys.argv) < 2:\n"
    "    os.execv(sys.executable, [*sys.orig_argv, 'again'])\nprint(sys.argv)\n",
    **{
        f"multiprocessing, {way}": "import multiprocessing as m\ndef f(x): return x * x\n"
        "def g(q): q.put(__name__)\n"
        f"if __name__ == '__main__':\n    m.set_start_method('{way}')\n"
        "    with m.Pool(2) as p: print(p.map(f, range(5)))\n"
        "    q = m.Queue()\n    p = m.Process(target=g, args=(q,))\n    p.start()\n"
        "    print(q.get())\n    p.join()\n    print(p.exitcode)\n"
        for way in ("fork", "spawn", "forkserver")
    },
    "a process that fails": Snippet(
        "import multiprocessing as m\ndef f(): 1 / 0\n"
        "p = m.Process(target=f)\np.start()\np.join()\nprint(p.exitcode)\n"
    ),
    "a pool of processes": "from concurrent.futures import ProcessPoolExecutor as P\n"
    "if __name__ == '__main__':\n    with P(2) as p: print(list(p.map(abs, [-1, 2])))\n",
    "its own source": "import inspect, sys\ndef f():\n    return 1\nprint(inspect.getsource(f))\n"
    "print(inspect.getsource(sys.modules['__main__']), inspect.getfile(f))\n",
    "source of a class": "import inspect\nclass C:\n    x = 1\nprint(inspect.getsource(C))\n",
    "source in -c": Snippet(
        argv=("-c", "import inspect\ndef f(): pass\ninspect.getsource(f)\n")
    ),
    "pickles": "import pickle\nclass C: pass\nprint(pickle.loads(pickle.dumps(C())).__class__)\n"
    "print(pickle.dumps(C))\n",
    "copies": "import copy\nclass C:\n    x = [1]\nprint(copy.deepcopy([C()])[0].x)\n",
    "dataclasses": "import dataclasses\n@dataclasses.dataclass(order=True, slots=True)\nclass D:\n"
    "    a: int\n    b: list = dataclasses.field(default_factory=list)\n"
    "print(D(1), D(1) < D(2), dataclasses.asdict(D(3)), D.__module__)\n",
    "type hints": "from __future__ import annotations\nimport typing\nclass C:\n    x: 'D'\n"
    "class D: pass\ndef f(a: C) -> list[D]: ...\n"
    "print(typing.get_type_hints(C), typing.get_type_hints(f))\n",
    "named tuples and enums": "import enum, collections\nfrom typing import NamedTuple\n"
    "class E(enum.Enum):\n    A = 1\nclass N(NamedTuple):\n    x: int\n"
    "P = collections.namedtuple('P', 'a b')\nprint(E.A, N(1), P(1, 2), P.__module__)\n",
    "protocols": "import typing, abc\n@typing.runtime_checkable\nclass P(typing.Protocol):\n"
    "    def f(self): ...\nclass C:\n    def f(self): ...\nprint(isinstance(C(), P))\n",
    "asyncio": "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 1\n"
    "print(asyncio.run(f()))\n",
    "asyncio that fails": "import asyncio\nasync def f(): 1 / 0\nasyncio.run(f())\n",
    "asyncio, a task that nobody awaits": "import asyncio\nasync def g(): 1 / 0\nasync def f():\n"
    "    t = asyncio.ensure_future(g())\n    await asyncio.sleep(0)\n    await asyncio.sleep(0)\n"
    "asyncio.run(f())\n",
    "a coroutine never awaited": "async def f(): pass\nf()\n",
    "asyncio and processes": "import asyncio\nasync def f():\n"
    "    p = await asyncio.create_subprocess_exec('echo', 'x', stdout=-1)\n"
    "    print(await p.communicate())\nasyncio.run(f())\n",
    "asyncio and signals": "import asyncio, os\nasync def f():\n    e = asyncio.Event()\n"
    "    asyncio.get_running_loop().add_signal_handler(10, e.set)\n    os.kill(os.getpid(), 10)\n"
    "    await e.wait()\n    print('got')\nasyncio.run(f())\n",
    "asyncio interrupted": "import asyncio, os\nasync def f():\n    os.kill(os.getpid(), 2)\n"
    "    await asyncio.sleep(9)\nasyncio.run(f())\n",
    "logging": "import logging\nlogging.warning('w')\nlogging.info('i')\n"
    "logging.getLogger('x').error('e')\ntry:\n    1 / 0\nexcept ArithmeticError:\n"
    "    logging.exception('ex')\nprint(logging.getLogger().handlers)\n",
    "logging shut down": "import logging, atexit\nlogging.basicConfig(level=10)\n"
    "atexit.register(logging.debug, 'late')\n",
    "tracemalloc": "import tracemalloc\ntracemalloc.start()\nx = [0] * 1000\n"
    "print(tracemalloc.get_traced_memory()[0] > 0, tracemalloc.is_tracing())\n",
    "garbage": "import gc, weakref\nclass C: pass\nc = C()\nc.c = c\nr = weakref.ref(c)\ndel c\n"
    "gc.collect()\nprint(r(), gc.garbage)\n",
    "tracing": "import sys\nseen = []\ndef t(f, e, a):\n    seen.append((e, f.f_code.co_name))\n"
    "sys.settrace(t)\ndef g(): pass\ng()\nsys.settrace(None)\nprint(seen)\n",
    "runpy": Snippet("import runpy\nprint(runpy.run_path('x.py')['a'])\n", files={"x.py": "a = 1"}),
    "import of what is made now": "open('made.py', 'w').write('x = 1')\nimport made\n"
    "print(made.x, made.__file__, made.__cached__)\n",
    "reload": Snippet(
        "import importlib, side\nprint(importlib.reload(side).x)\n", files={"side.py": "x = 1\n"}
    ),
    "a namespace package": Snippet("import n.m\nprint(n.__path__)\n", files={"n/m.py": ""}),
    "a circular import": Snippet("import a", files={"a.py": "import b", "b.py": "from a import x"}),
    "main imported by name": Snippet(
        "print(__name__)\nif __name__ == '__main__':\n    import side\n",
        files={"side.py": "import main\nprint(main is __import__('__main__'))\n"},
    ),
    "bytecode is written": "import os\nopen('m.py', 'w').write('')\nimport m\n"
    "print(os.listdir('__pycache__'))\n",
    "files": "import os\nopen('f', 'w').write('x')\nprint(os.stat('f').st_mode, os.getcwd())\n"
    "os.mkdir('d')\nprint(oct(os.stat('d').st_mode), os.path.expanduser('~'))\n",
    "sockets": "import socket\na, b = socket.socketpair()\na.send(b'x')\nprint(b.recv(9))\n"
    "s = socket.create_server(('127.0.0.1', 0))\nc = socket.create_connection(s.getsockname())\n"
    "print(s.accept()[0].getpeername()[0])\n",
    "sqlite": "import sqlite3\nc = sqlite3.connect('x.db')\nc.execute('create table t (a)')\n"
    "c.execute('insert into t values (1)')\nc.commit()\nprint(list(c.execute('select 2')))\n",
    "decimal, fractions, dates": "import decimal, fractions, datetime\n"
    "print(decimal.Decimal(1) / 3, fractions.Fraction(1, 3), datetime.date(2020, 1, 1))\n",
    "unittest": Snippet(
        "import unittest\nclass T(unittest.TestCase):\n    def test_x(self): self.fail()\n"
        "unittest.main()\n",
        hide=r"in \d\.\d+s",
    ),
    "doctest": "'''\n>>> 1 + 1\n3\n'''\nimport doctest\nprint(doctest.testmod())\n",
    "argparse": Snippet(
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('x', type=int)\n"
        "print(p.parse_args())\n",
        argv=("main.py", "no"),
    ),
    "the debugger": Snippet("x = 1\nbreakpoint()\nprint(x)\n", stdin=b"p x\nc\n"),
    "timeit": Snippet(argv=("-m", "timeit", "-n1", "-r1", "pass"), hide=r"[\d.]+ \w?sec"),
    "limits": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))\n"
    "print([open('/dev/null') for _ in range(9)])\n",
    "recursion": "import sys\ndef f(n): return n and f(n - 1)\nprint(f(900))\n"
    "sys.setrecursionlimit(5000)\nprint(f(4000), sys.getrecursionlimit())\n",
    "random with a seed": "import random\nrandom.seed(1)\nprint(random.random())\n",
    "ctypes callbacks": "import ctypes as c\nF = c.CFUNCTYPE(c.c_int, c.c_int)\n"
    "print(F(lambda x: x + 1)(2), c.CDLL(None).abs(-3))\n",
    "threads": "import threading\nout = []\nts = [threading.Thread(target=out.append, args=(n,)) "
    "for n in range(9)]\nfor t in ts: t.start()\nfor t in ts: t.join()\n"
    "print(sorted(out), threading.current_thread().name, threading.active_count())\n",
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_both_ways_do_the_same(backend: Backend, name: str) -> None:
    await same(backend, CASES[name])
