"""The tool schemas that a model is given, in both formats."""

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
LANGUAGES = ("javascript", "js", "nodejs", "typescript", "ts", "tsx")
_ID: Json = {"type": "string", "description": "The id that create_session has given."}


def _text(description: str) -> Json:
    return {"type": "string", "description": description}


def _map(description: str, values: Json | None = None) -> Json:
    return {
        "type": "object",
        "description": description,
        "additionalProperties": values or {"type": "string"},
    }


_LOCKED: Json = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("version", "resolved", "integrity")},
    "required": ["version", "resolved", "integrity"],
}
_EXECUTE: Mapping[str, Json] = {
    "session_id": _ID,
    "command": _text(
        "A line for the small shell: echo, cat, ls, mkdir, rm, cp, mv, pipes, > and >>."
    ),
    "wasm_path": _text("A WebAssembly module among the session's files."),
    "source": _text("Code to run."),
    "files": _map("A project: paths and their text. Needs entry."),
    "entry": _text("The file of files to run."),
    "language": {
        "type": "string",
        "enum": list(LANGUAGES),
        "description": "Of source; javascript by default.",
    },
    "function": _text("An exported function to call; for wasm_path only."),
    "args": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Arguments; for wasm_path only.",
    },
    "timeout": {"type": "integer", "description": "Seconds; 30 by default."},
    "env": _map("Variables, kept for the session."),
    "stdin": _text("What the program reads."),
    "stream": {"type": "boolean", "description": "Answer with server-sent events."},
    "dependencies": _map("npm packages: names and version ranges."),
    "lockfile": _map("What an earlier execution has returned: install paths.", _LOCKED),
    "install_package_json": {
        "type": "boolean",
        "description": "Install what the session's package.json depends on.",
    },
    "install_dev_dependencies": {
        "type": "boolean",
        "description": "And its devDependencies.",
    },
}

_PATH = _text("A path in the session.")
_TOOLS: Sequence[tuple[str, str, Mapping[str, Json], Sequence[str] | None]] = (
    ("create_session", "Make an isolated session with files of its own.", {}, ()),
    (
        "execute_code",
        "Run a module, source code, a project or a shell line in a session.",
        _EXECUTE,
        ("session_id",),
    ),
    (
        "write_file",
        "Write a text file in a session.",
        {"session_id": _ID, "path": _PATH, "content": _text("Its text.")},
        ("session_id", "path", "content"),
    ),
    (
        "read_file",
        "Read a text file of a session.",
        {"session_id": _ID, "path": _PATH},
        ("session_id", "path"),
    ),
    (
        "list_files",
        "List a directory of a session.",
        {"session_id": _ID, "path": _text("The directory; the root by default.")},
        ("session_id",),
    ),
    ("list_sessions", "List the sessions there are.", {}, None),
    (
        "destroy_session",
        "End a session and remove its files.",
        {"session_id": _ID},
        ("session_id",),
    ),
)


def _schema(properties: Mapping[str, Json], required: Sequence[str] | None) -> Json:
    schema: Json = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    if required is not None:
        schema["required"] = list(required)
    return schema


def openai() -> Sequence[Json]:
    """As OpenAI's API takes them."""
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": text,
                "parameters": _schema(properties, required),
            },
        }
        for name, text, properties, required in _TOOLS
    ]


def anthropic() -> Sequence[Json]:
    """As Anthropic's API takes them."""
    return [
        {"name": name, "description": text, "input_schema": _schema(properties, required)}
        for name, text, properties, required in _TOOLS
    ]
