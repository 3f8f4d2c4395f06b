"""However a warm program ends, it ends as under `python3`: exits, errors, signals, last words."""

import pytest

from atoll.core.ports import Backend
from tests.guest.twice import Snippet, same

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

DEL = """class D:
    def __init__(self, n): self.n = n
    def __del__(self): print('gone', self.n)
"""
LAST_RESORT = r"refcount : \d+|0x[0-9a-f]+"
SELF = "import os, signal\n"

ONE_LINE = {
    f"exit({value})": f"import sys\nprint('x')\nsys.exit({value})\n"
    for value in (
        "", "None", "0", "1", "3", "-1", "255", "256", "257", "2**31", "2**32 + 5", "2**40 + 9",
        "-2**40", "2**63", "2**70", "-2**70", "True", "False", "1.5", "'words'", "''", "b'raw'",
        "(1, 2)", "[]", "object", "ValueError('v')", "'ü\\udcff'",
    )
}  # fmt: skip
EXITS: dict[str, str | Snippet] = {
    "raise SystemExit": "raise SystemExit\n",
    "raise with two arguments": "raise SystemExit(1, 2)\n",
    "exit from a cause": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n"
    "    raise SystemExit(4) from e\n",
    "quit": "quit(5)\n",
    "exit of site": "exit('bye')\n",
    "a subclass": "class E(SystemExit):\n    pass\nraise E(6)\n",
    "code set later": "e = SystemExit()\ne.code = 7\nraise e\n",
    "an object that cannot be shown": "import sys\nclass O:\n"
    "    def __str__(self): raise ValueError('no')\nsys.exit(O())\n",
    "an int of one's own": "import sys\nclass I(int):\n    pass\nsys.exit(I(8))\n",
    "without stderr": "import sys\nsys.stderr = None\nsys.exit('lost')\n",
    "stderr replaced": "import sys\nsys.stderr = sys.stdout\nsys.exit('there')\n",
    "stderr broken": "import sys\nsys.stderr.close()\nsys.exit('there')\n",
    "os._exit": "import os\nprint('a', end='')\nos._exit(9)\n",
    "generator exit": "raise GeneratorExit\n",
    "-c exit": Snippet(argv=("-c", "raise SystemExit(3)")),
    "-m exit": Snippet("import sys\nsys.exit(4)", argv=("-m", "main")),
    "-c error": Snippet(argv=("-c", "def f():\n  1/0\nf()")),
}  # fmt: skip

ERRORS: dict[str, str | bytes | Snippet] = {
    "uncaught": "def f():\n    return 1 / 0\nprint('x')\nf()\n",
    "chained": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    {}['k']\n",
    "caused": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('v') from e\n",
    "caused by none": "try:\n    1 / 0\nexcept ArithmeticError:\n    raise ValueError from None\n",
    "notes": "e = ValueError('v')\ne.add_note('a\\nb')\nraise e\n",
    "group": "raise ExceptionGroup('g', [ValueError(1), ExceptionGroup('h', [KeyError(2)])])\n",
    "long lines": "x = 1\nprint(x) ; (x.a .b\n  .c)\n",
    "base exception": "class B(BaseException):\n    pass\nraise B('b')\n",
    "an error that cannot be shown": "class B(Exception):\n"
    "    def __str__(self): raise ValueError\nraise B('b')\n",
    "raise nothing": "raise\n",
    "raise a string": "raise 'x'\n",
    "a name": "print(pritn)\n",
    "an attribute": "import json\njson.dmups\n",
    "an import": "import nothing_here\n",
    "a name of a module": "from json import nothing\n",
    "relative import": "from . import x\n",
    "relative import of a parent": "from ..x import y\n",
    "syntax": "print('a')\ndef f(:\n    pass\n",
    "syntax, unclosed": "x = (1,\n",
    "syntax, string": "x = 'abc\n",
    "syntax, late": "print(1)\nreturn 5\n",
    "syntax, break": "print(1)\nbreak\n",
    "syntax in an import": Snippet("import side\n", files={"side.py": "def f(:\n"}),
    "syntax in exec": "exec('def f(:')\n",
    "syntax of -c": Snippet(argv=("-c", "def f(:\n")),
    "syntax raised": "raise SyntaxError('x', ('f.py', 1, 2, 'text', 1, 3))\n",
    "syntax of -m": Snippet("def f(:\n", argv=("-m", "main")),
    "indentation": "def f():\nreturn 1\n",
    "indentation, mixed": "if 1:\n        x = 1\n\ty = 2\n",
    "unexpected indentation": "  x = 1\n",
    "not utf-8": b"# \xff\xfe\nprint(1)\n",
    "not utf-8 in the middle": b"x = 1\ny = '\xff'\n",
    "latin 1": "# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))\n".encode("latin-1"),
    "unknown coding": "# coding: nothing\nprint(1)\n",
    "byte order mark": b"\xef\xbb\xbfprint('x')\n",
    "byte order mark against a coding": b"\xef\xbb\xbf# coding: latin-1\nprint('x')\n",
    "utf-16": "print(1)\n".encode("utf-16"),
    "null byte": b"print(1)\nx = '\x00'\n",
    "null byte in a comment": b"print(1) # \x00\nprint(2)\n",
    "empty": "",
    "only a comment": "# nothing",
    "no newline at the end": "print(1)",
    "carriage returns": b"print(1)\r\nprint('''a\r\nb''')\rprint(3)\r\n",
    "form feed": "print(1)\n\x0cprint(2)\n",
    "control-Z": b"print(1)\n\x1a\n",
    "a shebang": "#!/usr/bin/env python3\nprint(1)\n",
    "too deep": "x = " + "(" * 300 + ")" * 300 + "\n",
    "too deep operators": "x = " + "-" * 5000 + "1\n",
    "syntax warning": "x = 1\nprint(x is 1)\nassert (x, 'y')\n",
    "an escape": "print('\\d')\n",
    "deprecated": "import warnings\nwarnings.warn('w', DeprecationWarning)\n",
    "warned": "import warnings\ndef f():\n    warnings.warn('w', stacklevel=2)\nf()\nf()\n",
    "warning as an error": "import warnings\nwarnings.simplefilter('error')\nwarnings.warn('w')\n",
    "resource warning": "import warnings\nwarnings.simplefilter('always')\nopen('main.py')\n",
    "out of memory": "x = 'a' * (1 << 40)\n",
    "interrupted": "raise KeyboardInterrupt\n",
    "interrupted with words": "print('a')\nraise KeyboardInterrupt('x')\n",
    "a subclass of it": "class K(KeyboardInterrupt):\n    pass\nraise K\n",
    "excepthook": "import sys\nsys.excepthook = lambda t, v, b: print(t, v, b.tb_lineno)\n1 / 0\n",
    "excepthook sees nothing handled": "import sys\n"
    "sys.excepthook = lambda *a: print(sys.exc_info(), sys.last_value)\n1 / 0\n",
    "excepthook fails": "import sys\ndef h(*a):\n    {}['k']\nsys.excepthook = h\n1 / 0\n",
    "excepthook exits": "import sys\nsys.excepthook = lambda *a: sys.exit(12)\n1 / 0\n",
    "excepthook is none": "import sys\nsys.excepthook = None\n1 / 0\n",
    "excepthook is gone": "import sys\ndel sys.excepthook\n1 / 0\n",
    "excepthook and interrupt": "import sys\nsys.excepthook = lambda *a: print('h')\n"
    "raise KeyboardInterrupt\n",
    "stderr is none": "import sys\nsys.stderr = None\n1 / 0\n",
    "stderr is gone": Snippet("import sys\ndel sys.stderr\n1 / 0\n", hide=LAST_RESORT),
    "stderr is closed": Snippet("import sys\nsys.stderr.close()\n1 / 0\n", hide=LAST_RESORT),
    "stderr is replaced": "import sys, io\nsys.stderr = io.StringIO()\nimport atexit\n"
    "atexit.register(lambda: print(repr(sys.stderr.getvalue())))\n1 / 0\n",
    "traceback module": "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n"
    "    traceback.print_exc()\n    print(traceback.format_exc())\n",
    "recursion": Snippet("def f(): f()\nf()\n", hide=r"repeated \d+ more"),
    "tracebacklimit": "import sys\nsys.tracebacklimit = 0\ndef f(): 1 / 0\nf()\n",
}

RAISED = {
    name: SELF + f"print('x')\nos.kill(os.getpid(), signal.{name})\nprint('after')\n"
    for name in ("SIGTERM", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGPIPE", "SIGQUIT", "SIGCHLD",
                 "SIGXFSZ", "SIGALRM", "SIGSEGV", "SIGABRT", "SIGINT", "SIGRTMIN")
}  # fmt: skip
HANDLED: dict[str, str | Snippet] = {
    "abort": "import os\nos.abort()\n",
    "segfault": "import ctypes\nctypes.string_at(0)\n",
    "handler": SELF + "signal.signal(signal.SIGTERM, lambda n, f: print('got', n, f.f_lineno))\n"
    "os.kill(os.getpid(), 15)\nprint('after')\n",
    "handler raises": SELF + "def h(n, f): raise OSError(n)\nsignal.signal(10, h)\n"
    "os.kill(os.getpid(), 10)\n",
    "interrupt caught": SELF + "try:\n    os.kill(os.getpid(), 2)\n"
    "except KeyboardInterrupt as e:\n    print('caught', repr(e))\n",
    "interrupt ignored": SELF + "signal.signal(2, signal.SIG_IGN)\nos.kill(os.getpid(), 2)\n",
    "interrupt in a finally": SELF + "import atexit\natexit.register(print, 'exit')\n"
    "try:\n    os.kill(os.getpid(), 2)\nfinally:\n    print('finally')\n",
    "alarm": SELF + "signal.setitimer(signal.ITIMER_REAL, 0.02)\nsignal.pause()\n",
    "broken pipe": SELF + "r, w = os.pipe()\nos.close(r)\nos.write(w, b'x')\n",
    "broken pipe of a child": "import subprocess as s\n"
    "p = s.Popen(['sh', '-c', 'kill -PIPE $$'])\nprint(p.wait())\n",
    "child of a shell": "import os\nprint(os.system('kill -TERM $$'), os.system('exit 3'))\n",
    "faulthandler": Snippet(
        "import faulthandler, os, signal\nfaulthandler.enable()\nos.kill(os.getpid(), 11)\n",
        hide=r"(?s)  File .*|0x\w+",
    ),
}  # fmt: skip

LAST_WORDS: dict[str, str | Snippet] = {
    "atexit in order": "import atexit\nfor n in range(3): atexit.register(print, n)\nprint('x')\n",
    "atexit raises": "import atexit\natexit.register(print, 'still')\n"
    "atexit.register(lambda: 1 / 0)\n",
    "atexit exits": "import atexit, sys\natexit.register(print, 'still')\n"
    "atexit.register(lambda: sys.exit(7))\n",
    "atexit after an error": "import atexit\natexit.register(print, 'exit')\n1 / 0\n",
    "atexit registers": "import atexit\natexit.register(lambda: atexit.register(print, 'inner'))\n",
    "atexit sees no error": "import atexit, sys\natexit.register(lambda: print(sys.exc_info()))\n"
    "1 / 0\n",
    "atexit and os._exit": "import atexit, os\natexit.register(print, 'exit')\nos._exit(1)\n",
    "atexit and sys.exit": "import atexit, sys\natexit.register(print, 'exit')\nsys.exit(2)\n",
    "destructor": DEL + "a = D('a')\nb = D('b')\n",
    "destructor in a cycle": DEL + "a = D('a')\na.self = a\ndel a\nprint('end')\n",
    "destructor uses a global": "name = 'n'\nimport os\nclass D:\n"
    "    def __del__(self): print(name, os.getcwd(), later)\nd = D()\nlater = 'l'\n",
    "destructor of a private name": DEL + "a = D('a')\n_b = D('_b')\n__c = D('__c')\n",
    "destructor fails": Snippet(  # an interpreter that ends cannot read the source any more
        "class D:\n    def __del__(self): 1 / 0\nd = D()\n",
        hide=r"    +(def|~).*\n| at 0x[0-9a-f]+>",
    ),
    "destructor after an error": DEL + "d = D(1)\ndef f():\n    x = D('local')\n    1 / 0\nf()\n",
    "destructor after sys.exit": DEL + "import sys\ndef f():\n    x = D('local')\n"
    "    sys.exit(3)\nf()\n",
    "destructor in a module": Snippet(
        "import side\nfrom side import D\nd = D('main')\n",
        files={"side.py": DEL + "kept = D('side')\n"},
    ),
    "file not closed": "f = open('/tmp/f', 'w')\nf.write('data')\nimport os\nclass D:\n"
    "    def __del__(self): print(os.path.getsize('/tmp/f'))\nd = D()\ndel f\n",
    "destructor of what typing remembers": DEL + "from typing import List\n"
    "def f(x: List[D]): pass\nd = D('kept')\n",
    "stdio of C": "import ctypes\nctypes.CDLL(None).printf(b'from C\\n')\n",
    "daemon thread that never rests": "import threading\ndef f():\n    while True: g()\n"
    "def g(): return 1\nthreading.Thread(target=f, daemon=True).start()\nprint('end')\n",
    "destructor in a class attribute": DEL + "class C:\n    d = D('attribute')\n",
    "destructor of a default": DEL + "def f(d=D('default')): return d\n",
    "destructor prints to a replaced stdout": "import sys, io\n" + DEL
    + "d = D('d')\nsys.stdout = io.StringIO()\n",
    "generator": "def g():\n    try:\n        yield 1\n    finally:\n        print('closed')\n"
    "x = g()\nnext(x)\n",
    "weakref": "import weakref\nclass C: pass\nc = C()\nr = weakref.ref(c, print)\n",
    "finalize": "import weakref\nclass C: pass\nc = C()\nweakref.finalize(c, print, 'finalized')\n",
    "context manager left open": "import contextlib\n@contextlib.contextmanager\ndef c():\n"
    "    try:\n        yield\n    finally:\n        print('left')\nx = c()\nx.__enter__()\n",
    "temporary directory": "import tempfile, os\nd = tempfile.TemporaryDirectory()\n"
    "import atexit\natexit.register(lambda: print(os.path.exists(d.name)))\n",
    "unflushed file": "f = open('/tmp/f', 'w')\nf.write('data')\nimport os, atexit\n"
    "atexit.register(lambda: print(os.path.getsize('/tmp/f')))\n",
    "unraisable hook": "import sys\nsys.unraisablehook = lambda u: print(u.exc_type, u.err_msg)\n"
    "class D:\n    def __del__(self): 1 / 0\nd = D()\ndel d\n",
    "late thread": "import threading, time\ndef f():\n    time.sleep(0.05)\n    print('late')\n"
    "threading.Thread(target=f).start()\nprint('end')\n",
    "late thread after an error": "import threading, time\ndef f():\n    time.sleep(0.05)\n"
    "    print('late')\nthreading.Thread(target=f).start()\n1 / 0\n",
    "daemon thread": "import threading, time\ndef f():\n    time.sleep(5)\n    print('late')\n"
    "threading.Thread(target=f, daemon=True).start()\nprint('end')\n",
    "thread raises": "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='t')\n"
    "t.start()\nt.join()\nprint('end')\n",
    "raw thread raises": "import _thread, time\ndef f(): 1 / 0\n"
    "_thread.start_new_thread(f, ())\ntime.sleep(0.05)\n",
    "thread hook": "import threading\nthreading.excepthook = lambda a: print('hook', a.exc_type)\n"
    "threading.Thread(target=lambda: 1 / 0).start()\n",
    "thread exits": "import threading, sys\nt = threading.Thread(target=sys.exit, args=(3,))\n"
    "t.start()\nt.join()\nprint('end')\n",
    "executor": "from concurrent.futures import ThreadPoolExecutor\np = ThreadPoolExecutor(2)\n"
    "p.submit(print, 'done')\n",
    "thread at exit": "import threading, atexit\natexit.register(\n"
    "    lambda: print(threading.main_thread() is threading.current_thread()))\n",
    "stdout closed": "import sys\nprint('x')\nsys.stdout.close()\n",
    "stdout closed before print": "import sys\nsys.stdout.close()\nprint('x')\n",
    "descriptor closed": "import os\nos.close(1)\nprint('x')\n",
    "descriptor closed at the end": "import os\nprint('x')\nos.close(1)\n",
    "buffered, descriptor closed": "import os, sys\nsys.stdout = open(1, 'w', closefd=False)\n"
    "print('x')\nos.close(1)\n",
    "stdout is none": "import sys\nsys.stdout = None\nprint('x')\n",
    "stdout is gone": "import sys\ndel sys.stdout\n",
    "stdout without flush": "import sys\nclass W:\n    def write(*a): pass\nsys.stdout = W()\n",
    "stdout whose flush fails": "import sys\nclass W:\n    def write(self, t): pass\n"
    "    def flush(self): 1 / 0\nsys.stdout = W()\n",
    "stderr whose flush fails": "import sys\nclass W:\n    def write(self, t): pass\n"
    "    def flush(self): 1 / 0\nsys.stderr = W()\n",
    "sys.modules cleared": "import sys\nsys.modules.clear()\n",
    "main replaced": "import sys, types\nsys.modules['__main__'] = types.ModuleType('m')\nx = 1\n"
    + DEL + "d = D(1)\n",
    "a module that is no module": "import sys\nsys.modules['odd'] = object()\nsys.modules[3] = 4\n",
    "names deleted": "import sys\ndel __name__, __builtins__, __file__\nsys.stdout.write('x')\n",
}  # fmt: skip

CASES: dict[str, str | bytes | Snippet] = {
    **ONE_LINE, **EXITS, **ERRORS, **RAISED, **HANDLED, **LAST_WORDS,
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_both_ways_end_alike(backend: Backend, name: str) -> None:
    await same(backend, CASES[name])


KNOWN: dict[str, str] = {
    "a warning before an error is told twice": "x = 1\nprint(x is 1)\nreturn\n",
    "what hangs on a module of the zygote's": DEL + "import json\njson.mine = [D('held')]\n",
    "frames beneath the program's": "import traceback\ntraceback.print_stack()\n",
    "a C function that fails at the end": "import atexit, sys\natexit.register(sys.exit, 7)\n",
}


@pytest.mark.xfail(reason="guest.python says what a program can still notice", strict=True)
@pytest.mark.parametrize("name", KNOWN)
async def test_known_differences(backend: Backend, name: str) -> None:
    await same(backend, KNOWN[name])
