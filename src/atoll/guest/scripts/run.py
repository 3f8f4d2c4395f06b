"""Runs a Python program that has `atoll_result`, and tells at the end what it set.

`python3 run.py FILE args` is `python3 FILE args` besides. See deno.js for the frame that it writes.
"""

import json
import os
import sys
import traceback
import types
from typing import cast

_LONGEST = 2 * 1024 * 1024


class _Report:
    """What the program has said so far."""

    def __init__(self, nonce: str) -> None:
        self.nonce = nonce
        self.members: dict[str, str] = {}
        self.failed = False

    def set(self, value: object) -> None:
        """Give back a JSON value: `result` of the answer. The last one counts."""
        self.members["result"] = _text(value)

    def error(self, error: object) -> None:
        """Give back an error, and exit with 1 at the end: `error` of the answer."""
        self.members["error"] = _text(_described(error))
        self.failed = True

    def tell(self, code: int) -> None:
        """Write the frame."""
        members = [f'"code":{code}', '"exited":false']
        members += [f'"{name}":{text}' for name, text in self.members.items()]
        body = ("{" + ",".join(members) + "}").encode()
        frame = b"\0atoll:%s:%d\n" % (self.nonce.encode(), len(body)) + body
        while frame:
            frame = frame[os.write(1, frame) :]


def _text(value: object) -> str:
    text = json.dumps(value, allow_nan=False)
    if len(text) > _LONGEST:
        raise ValueError("the value is too long")
    return text


def _described(error: object) -> object:
    if isinstance(error, BaseException):
        return {
            "name": type(error).__name__,
            "message": str(error),
            "stack": "".join(traceback.format_exception(error)),
        }
    if isinstance(error, dict):
        return cast("dict[object, object]", error)
    return {"name": "Error", "message": str(error)}


def _run(path: str) -> int:
    """As `python3 path` does; the status that it ends with."""
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    with open(path, "rb") as file:
        source = file.read()
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=path, __builtins__=__builtins__)
    sys.modules["__main__"] = module
    exec(compile(source, path, "exec"), module.__dict__)  # noqa: S102 - it is what we are for
    return 0


def main() -> int:
    """Run it, tell, and return its status."""
    report = _Report(os.environ.pop("ATOLL_RESULT", ""))
    helper = types.ModuleType("atoll_result", "What a program gives back besides its output.")
    helper.__dict__.update(set=report.set, error=report.error)
    sys.modules["atoll_result"] = helper
    sys.argv = sys.argv[1:]
    code = 1
    try:
        code = _run(sys.argv[0])
    except SystemExit as ended:
        given = ended.code
        code = given if isinstance(given, int) else 0 if given is None else 1
        if code == 1 and not isinstance(given, int):
            sys.stderr.write(f"{given}\n")
    except BaseException as error:  # noqa: BLE001 - whatever the program has raised
        own = error.__traceback__
        while own is not None and own.tb_frame.f_code.co_filename == __file__:
            own = own.tb_next
        error.__traceback__ = own
        traceback.print_exception(error)
        report.error(error)
    sys.stdout.flush()
    code = code or int(report.failed)
    report.tell(code & 0xFF)
    return code


if __name__ == "__main__":
    sys.exit(main())
