"""Write the sync client from the async one: `python scripts/sync_client.py [--check]`.

Every module of `atoll/client/aio` but those of `BY_HAND` becomes one of `atoll/client/sync`. With
`--check` nothing is written, and the exit code says whether the two agree.
"""

import re
import sys
from pathlib import Path

CLIENT = Path(__file__).parent.parent / "src" / "atoll" / "client"
BY_HAND = frozenset({"__init__.py", "drive.py"})
HEADER = """\
# Generated from atoll/client/aio by scripts/sync_client.py. Change it there.
# fmt: off
# ruff: noqa: C416, I001, RUF100, UP028
"""

RULES = (
    (r"\batoll\.client\.aio\b", "atoll.client.sync"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsyncGenerator\b", "Generator"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAsyncIterable\b", "Iterable"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\bAbstractAsyncContextManager\b", "AbstractContextManager"),
    (r"\bAsyncBaseTransport\b", "BaseTransport"),
    (r"\bAsync([A-Z]\w*)", r"\1"),
    (r"__a(enter|exit|iter|next)__", r"__\1__"),
    (r"\ba(close|read|iter_raw|iter_bytes)\b", r"\1"),
    (r"\baclosing\b", "closing"),
    (r"\benter_async_context\b", "enter_context"),
    (r"\ban async\b", "a sync"),
    (r"\bThe async\b", "The sync"),
)


def synced(source: str) -> str:
    """The sync text of an async module."""
    for pattern, replacement in RULES:
        source = re.sub(pattern, replacement, source)
    return HEADER + source


def main() -> int:
    """Write, or check."""
    check = "--check" in sys.argv[1:]
    stale: list[str] = []
    for path in sorted((CLIENT / "aio").glob("*.py")):
        if path.name in BY_HAND:
            continue
        target = CLIENT / "sync" / path.name
        text = synced(path.read_text(encoding="utf-8"))
        if target.exists() and target.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.name)
        if not check:
            target.write_text(text, encoding="utf-8")
    for name in stale:
        sys.stdout.write(f"{'stale' if check else 'wrote'}: sync/{name}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
