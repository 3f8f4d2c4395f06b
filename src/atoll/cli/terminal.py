"""Join our terminal and one in a sandbox: raw both ways, until the program ends."""

import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from atoll.client.errors import AtollError

if TYPE_CHECKING:
    from atoll.client import Exit, Terminal

_CHUNK = 4096


def converse(line: "Terminal") -> "Exit | None":
    """Relay until the end; None when our own input ended first."""
    wake_read, wake_write = os.pipe()
    broken: list[AtollError] = []

    def hear() -> None:
        try:
            for data in line.output():
                os.write(sys.stdout.fileno(), data)
        except AtollError as failed:
            broken.append(failed)
        finally:
            os.write(wake_write, b"e")

    listener = threading.Thread(target=hear, daemon=True)
    try:
        with _raw(), _sizes(wake_write):
            listener.start()
            _speak(line, wake_read)
    finally:
        if listener.ident is not None:
            line.close()
            listener.join(timeout=5)
        os.close(wake_read)
        os.close(wake_write)
    if broken and line.exit is None:
        raise broken[0]
    return line.exit


def _speak(line: "Terminal", wake: int) -> None:
    """Send what is typed and how large the window is, until the other side has ended."""
    keyboard = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([keyboard, wake], [], [])
        if wake in ready:
            words = os.read(wake, _CHUNK)
            if b"e" in words:
                return
            size = shutil.get_terminal_size()
            line.resize(size.lines, size.columns)
        if keyboard in ready:
            typed = os.read(keyboard, _CHUNK)
            if not typed:
                return
            line.send(typed)


@contextmanager
def _raw() -> Generator[None]:
    """Every key goes through, ctrl-C too; the terminal is as before at the end."""
    before = termios.tcgetattr(sys.stdin)
    # Draining, not flushing: what was typed ahead is kept.
    tty.setraw(sys.stdin, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextmanager
def _sizes(wake: int) -> Generator[None]:
    """A new window size wakes the speaker."""

    def changed(_number: int, _frame: FrameType | None) -> None:
        os.write(wake, b"w")

    before = signal.signal(signal.SIGWINCH, changed)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
