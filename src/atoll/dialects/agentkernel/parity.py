"""What this dialect does of agentkernel's API, line by line."""

from atoll.dialects.agentkernel.absent import GROUPS, OF_SANDBOXES
from atoll.http.parity import Line, Parity, partial, refused

_NOT_YET = "Not yet: 501."

PARITY = Parity(
    {
        "Server and conventions": (
            Line("port", "Port 18888 on 127.0.0.1", "`--dialect agentkernel`"),
            Line("envelope", '`{"success", "data"}` and `{"success", "error"}`'),
            Line(
                "auth",
                "`Authorization: Bearer KEY` and `X-API-Key: KEY`",
                "Keys are Atoll's; on this machine none is needed.",
            ),
            Line("auth.texts", "401 in its three texts"),
            Line("health", "`GET /health`, without a key", "In the envelope and bare at once."),
            Line("not-found", "404 `Not found` of any other path or method"),
            Line("bad-json", "400 `Invalid JSON: …`"),
            Line(
                "too-large",
                "413 `Request body exceeds the maximum size of … bytes`",
                "The server's `max_body_bytes`, 16 MiB.",
            ),
            Line(
                "statuses",
                "Statuses of the document, or of the newest server",
                "The option `statuses`.",
            ),
            Line("openapi", "Every answer to the document's requests is one of the document"),
        ),
        "Clients": (
            Line("sdk.python", "PyPI `agentkernel-sdk`, sync and async"),
            Line("sdk.node", "npm `agentkernel`"),
            partial(
                "sdk.browser",
                "`client.browser()`",
                "It installs Chromium in the sandbox: only where the operator allows a network.",
            ),
            Line("curl", "curl, as the document has it"),
        ),
        "One-shots": (
            Line("run", "`POST /run`"),
            Line(
                "run.python",
                "Python commands are forked warm, and differ in nothing else",
                "`python3 -c CODE args`, `python3 FILE`, `python3 -m MODULE`; others are started.",
            ),
            partial(
                "run.fast",
                "`fast`",
                "Both ways are the same here, but that `image` counts only without it.",
            ),
            Line(
                "run.profile",
                "`profile`; one that nobody knows is the default",
                "Counts with `fast`, too.",
            ),
            partial(
                "run.image",
                "`image` without `fast`; found by the command's first word when absent",
                "The server's table of images says what a name means: the usual ones are the "
                "host's files unless they are pulled; an unknown name is 400.",
            ),
            Line(
                "run.failure",
                "`Command exited with code N: …`, with `exit_code` and `output`",
                "500, as the document has it; 409 with `statuses=newest`.",
            ),
            Line("run.empty", "400 `command is required`"),
            Line("run.disconnect", "A client that leaves ends its command"),
            partial(
                "batch",
                "`POST /batch/run`, results in order, errors in their places",
                "At most the server's `max_batch` commands.",
            ),
            Line(
                "stream",
                "`POST /run/stream` as the program prints",
                "Events have the keys of the document and of the clients. Python runs unbuffered.",
            ),
            Line(
                "stream.failure",
                "A command that fails ends in `done` with its `exit_code`",
                "What is no command's end is `error`.",
            ),
        ),
        "Sandboxes": (
            Line("create", "`POST /sandboxes`: 201, `running`"),
            partial(
                "create.names",
                "The rule of names",
                "That of the server: 63 characters, no two separators side by side.",
            ),
            Line(
                "create.duplicate",
                "A name that is taken",
                "500, as the document's server has it; 409 with `statuses=newest`.",
            ),
            Line("list", "`GET /sandboxes`, `?label=k:v` repeatable"),
            Line(
                "get",
                "`GET /sandboxes/{name}`",
                "One without such a name, of the native API, has its id for a name.",
            ),
            Line("by-uuid", "`GET /sandboxes/by-uuid/{uuid}`"),
            Line("delete", "`DELETE /sandboxes/{name}`; 404 of nothing"),
            partial(
                "start-stop",
                "`POST …/start` and `…/stop`",
                "A stopped sandbox starts on its next use, instead of refusing it.",
            ),
            partial(
                "pause",
                "`POST …/pause` and `…/resume`",
                "Where the backend can, else 422; not across a restart.",
            ),
            Line("patch.labels", "`PATCH` with `labels` and `description`"),
            Line("patch.lifecycle", "`PATCH` with `lifecycle`, or null for never"),
            Line("extend", "`POST …/extend`"),
            partial("fork", "`POST …/fork`", "The files; not the memory."),
            Line(
                "restart",
                "Sandboxes are found again after a restart",
                "With their files, labels, limits and snapshots.",
            ),
        ),
        "What a create may say": (
            partial("create.limits", "`vcpus`, `memory_mb`", "At most what the operator allows."),
            partial(
                "create.profile",
                "`profile`, in any case; 400 of another",
                "What it says of the network holds where the operator allows it.",
            ),
            partial(
                "create.image",
                "`image`",
                "As for one-shots. Without one it is the host's files.",
            ),
            Line("create.labels", "`labels`"),
            partial(
                "create.notes",
                "`description`, `created_from_template`, `template_help_text`",
                "Up to 256 characters each; in the native API they are labels, `agentkernel.…`.",
            ),
            partial(
                "create.ports",
                "`ports`, each a number",
                "Reached at `/v1/sandboxes/{id}/ports/{port}/` of the server, which `endpoints` "
                "says; a port of the host (`8080:80`) is 501.",
            ),
            Line(
                "create.lifecycle",
                "`lifecycle`: `auto_stop_after_seconds`, `auto_archive_after_seconds`, "
                "`auto_delete_after_seconds`; status `archived`, `archived_at`, `archived_reason`",
            ),
            partial("create.backend", "`backend`", "By Atoll's names."),
            refused(
                "create.absent",
                "`network`, `volumes`, "
                "`agent`, `secrets`, `secret_files`, `placeholder_secrets`, `secret_mappings`, "
                "`init_script`, `source_url`",
                _NOT_YET,
            ),
        ),
        "Commands in sandboxes": (
            Line("exec", "`POST …/exec` with `env` and `workdir`"),
            refused("exec.sudo", "`sudo`", "403: there is no root in sandboxes."),
            partial(
                "detached",
                "`POST …/exec/detach`, its list, status, logs and end",
                "`pid` is the command's number in its sandbox.",
            ),
        ),
        "Files": (
            partial("files.read", "Read: UTF-8 as text, anything else as base64", "Up to 16 MiB."),
            Line("files.write", "Write text and base64; parents are made"),
            Line("files.delete", "Delete"),
            Line("files.batch", "`POST …/files`, several texts", '`{"written": N}`'),
            Line("files.paths", "The rules of paths"),
            Line("files.base64", "400 `Invalid base64: …`"),
        ),
        "Snapshots": (
            partial(
                "snapshots",
                "Take, list, get, delete",
                "Taken of a stopped sandbox: one that runs is stopped, and 409 while commands run.",
            ),
            Line("snapshots.unnamed", "One without a name is given one"),
            Line("snapshots.restore", "Restore, with `as_name` and without"),
        ),
        "What happened": (
            Line("logs", "`GET …/logs` with both sets of keys"),
            Line("events", "`GET /events`, `?sandbox=`"),
        ),
        "About the server": (
            Line("backends", "`GET /backends`"),
            partial(
                "status",
                "`GET /status`, `/stats`, `/doctor`, `/metrics`",
                "In Atoll's words, and with a key where one is needed.",
            ),
        ),
        "Not yet": (
            *(
                refused(f"absent.{word}", f"{what}: `/{word}…`", _NOT_YET)
                for word, what in GROUPS.items()
            ),
            *(
                refused(
                    f"absent.sandboxes.{word}", f"{what}: `/sandboxes/{{name}}/{word}…`", _NOT_YET
                )
                for word, what in OF_SANDBOXES.items()
            ),
            refused("absent.import-config", "`POST /sandboxes/import-config`", _NOT_YET),
        ),
    }
)
