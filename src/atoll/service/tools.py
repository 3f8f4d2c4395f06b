"""Atoll as tools for a language model: schemas that it can call as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atoll.core.errors import InvalidRequest

Schema = dict[str, object]

FORMATS = ("openai", "anthropic")


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `method` and `path` say which call of the API it is.

    Properties named in braces in `path` go there, the property `content` (if any) is the raw
    body, all others are the fields of the JSON body.
    """

    name: str
    description: str
    properties: Mapping[str, Schema]
    required: tuple[str, ...]
    method: str
    path: str

    def parameters(self) -> Schema:
        """The JSON Schema of its arguments."""
        return {
            "type": "object",
            "properties": dict(self.properties),
            "required": list(self.required),
            "additionalProperties": False,
        }


def catalogue(languages: Sequence[str]) -> tuple[Tool, ...]:
    """All tools of a server that has these languages."""
    return (*_once(languages), *_sandboxes(), *_files())


def schemas(style: str, languages: Sequence[str]) -> list[Schema]:
    """The tools as the `tools` argument of that vendor's API."""
    if style == "openai":
        return [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters(),
                },
            }
            for tool in catalogue(languages)
        ]
    if style == "anthropic":
        return [
            {
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.parameters(),
            }
            for tool in catalogue(languages)
        ]
    raise InvalidRequest(f"format must be one of: {', '.join(FORMATS)}.", field="format")


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


_SANDBOX = _text("The sandbox's id or name, as create_sandbox returned it.")
_PATH = _text("Path of the file, relative to the working directory /workspace.")
_TIMEOUT: Schema = {
    "type": "number",
    "description": "Seconds after which the program is ended. Default 30.",
    "exclusiveMinimum": 0,
}
_ARGV: Schema = {
    "type": "array",
    "items": {"type": "string"},
    "minItems": 1,
    "description": 'Program and arguments, e.g. ["ls", "-l"]; no shell unless you name one.',
}


def _once(languages: Sequence[str]) -> tuple[Tool, ...]:
    return (
        Tool(
            "execute_code",
            "Run a piece of code once in a fresh, isolated sandbox and return its exit code and "
            "what it printed. Nothing is kept between calls and there is no network; print "
            "whatever you want to see.",
            {
                "language": {
                    "type": "string",
                    "enum": list(languages),
                    "description": "The language that the code is written in.",
                },
                "code": _text("The whole program."),
                "stdin": _text("What the program reads from standard input."),
                "args": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Command-line arguments of the program.",
                },
                "timeout_s": _TIMEOUT,
            },
            ("language", "code"),
            "POST",
            "/v1/execute",
        ),
        Tool(
            "run_command",
            "Run one command once in a fresh, isolated sandbox and return its exit code and what "
            "it printed. Nothing is kept between calls and there is no network.",
            {
                "argv": _ARGV,
                "stdin": _text("What the command reads from standard input."),
                "timeout_s": _TIMEOUT,
            },
            ("argv",),
            "POST",
            "/v1/run",
        ),
    )


def _sandboxes() -> tuple[Tool, ...]:
    return (
        Tool(
            "create_sandbox",
            "Create a sandbox that keeps its files between calls. Destroy it when you are done.",
            {
                "name": _text("A name for it, unique among your sandboxes."),
                "idle_timeout_s": {
                    "type": "number",
                    "description": "Seconds without use after which it stops; its files stay.",
                    "exclusiveMinimum": 0,
                },
            },
            (),
            "POST",
            "/v1/sandboxes",
        ),
        Tool(
            "run_in_sandbox",
            "Run a command in a sandbox made with create_sandbox, wait for its end, and return "
            "its exit code and what it printed. Files that it writes stay.",
            {"sandbox": _SANDBOX, "argv": _ARGV, "timeout_s": _TIMEOUT},
            ("sandbox", "argv"),
            "POST",
            "/v1/sandboxes/{sandbox}/exec",
        ),
        Tool(
            "destroy_sandbox",
            "Destroy a sandbox and its files. It cannot be brought back.",
            {"sandbox": _SANDBOX},
            ("sandbox",),
            "DELETE",
            "/v1/sandboxes/{sandbox}",
        ),
    )


def _files() -> tuple[Tool, ...]:
    return (
        Tool(
            "write_file",
            "Create a file in a sandbox, or replace it whole. Missing directories are made.",
            {"sandbox": _SANDBOX, "path": _PATH, "content": _text("The whole content.")},
            ("sandbox", "path", "content"),
            "PUT",
            "/v1/sandboxes/{sandbox}/files/{path}",
        ),
        Tool(
            "read_file",
            "Read a file of a sandbox.",
            {"sandbox": _SANDBOX, "path": _PATH},
            ("sandbox", "path"),
            "GET",
            "/v1/sandboxes/{sandbox}/files/{path}",
        ),
    )
