"""Call QuickJS-NG, whose WASI build is a library, as if it were a program `qjs FILE ARGS`."""

from typing import Any

from atoll.guest.wasm.report import EXITED, Report

HERE = "/opt/atoll/lib/atoll/guest/wasm"
REHEARSAL = "/rehearsal"


def call(here: str, argv: list[str], store: Any, instance: Any) -> Report:
    """Evaluate the driver, a file in `here`, with the words after the program's name."""
    with open(f"{here}/quickjs.js", encoding="utf-8") as file:
        driver = file.read()
    exports = instance.exports(store)
    exports["_initialize"](store)
    words = [argv[0], "--std", "-m", "-e", driver, *argv[1:]]
    failed = exports["qjs_init_argv"](store, len(words), _placed(words, store, exports))
    return Report(EXITED, 1 if failed else 0)


def rehearse(here: str, _task: object, store: Any, instance: Any) -> Report:
    """Run a program with nothing to do, of our own."""
    return call(here, ["qjs", f"{REHEARSAL}/rehearsal.js"], store, instance)


def _placed(words: list[str], store: Any, exports: Any) -> int:
    """An `argv` in the module's memory; its address."""
    texts = [word.encode("utf-8", "surrogateescape") + b"\0" for word in words]
    pointers = 4 * (len(texts) + 1)
    start = exports["malloc"](store, pointers + sum(map(len, texts)))
    table, place = b"", start + pointers
    for text in texts:
        table += place.to_bytes(4, "little")
        place += len(text)
    exports["memory"].write(store, table + bytes(4) + b"".join(texts), start)
    return int(start)
