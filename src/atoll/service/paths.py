"""The paths that a client gives for the files of an execution: one check, in one place."""

from collections.abc import Mapping

from atoll.core.errors import InvalidRequest

LONGEST_NAME = 255
LONGEST_PATH = 4095
DEEPEST = 64


def text_bytes(text: str, field: str) -> bytes:
    """The bytes of a string for the kernel; `InvalidRequest` for NUL and for half characters."""
    if "\0" in text:
        raise InvalidRequest(f"{field} holds a NUL byte.", field=field)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidRequest(f"{field} is not valid Unicode.", field=field) from None


def relative_path(path: str, field: str) -> str:
    """The path without `.` and doubled slashes; `InvalidRequest` unless it stays beneath."""
    raw = text_bytes(path, field)
    if not path:
        raise InvalidRequest(f"{field}: a path is empty.", field=field)
    if path.startswith("/"):
        raise InvalidRequest(f"{field}: {_short(path)} must be relative.", field=field)
    if path.endswith(("/", "/.")):
        raise InvalidRequest(f"{field}: {_short(path)} names a directory.", field=field)
    if len(raw) > LONGEST_PATH:
        raise InvalidRequest(f"{field}: a path is over {LONGEST_PATH} bytes.", field=field)
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if not parts:
        raise InvalidRequest(f"{field}: {_short(path)} names a directory.", field=field)
    if ".." in parts:
        raise InvalidRequest(f"{field}: {_short(path)} must not hold '..'.", field=field)
    if len(parts) > DEEPEST:
        raise InvalidRequest(f"{field}: a path is over {DEEPEST} directories deep.", field=field)
    if any(len(part.encode("utf-8", "surrogateescape")) > LONGEST_NAME for part in parts):
        raise InvalidRequest(f"{field}: a name is over {LONGEST_NAME} bytes.", field=field)
    return "/".join(parts)


def relative_files(files: Mapping[str, bytes], field: str = "files") -> dict[str, bytes]:
    """The same for a whole set; also refuses doubles, and a file where a directory must be."""
    found: dict[str, bytes] = {}
    for path, content in files.items():
        plain = relative_path(path, field)
        if plain in found:
            raise InvalidRequest(f"{field}: {_short(plain)} is given twice.", field=field)
        found[plain] = content
    for path in found:
        end = path.find("/")
        while end >= 0:
            if path[:end] in found:
                raise InvalidRequest(
                    f"{field}: {_short(path[:end])} is both a file and a directory.", field=field
                )
            end = path.find("/", end + 1)
    return found


def _short(path: str) -> str:
    return ascii(path if len(path) <= 80 else f"{path[:77]}...")  # noqa: PLR2004
