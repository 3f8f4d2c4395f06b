"""The Python SDK: `Atoll` and `AsyncAtoll`, what they answer, what they raise.

from atoll.client import Atoll

with Atoll("http://127.0.0.1:8000") as atoll:
    print(atoll.execute("python", "print(1 + 1)").stdout)
    with atoll.sandboxes.create() as sandbox:
        sandbox.files.write("notes.txt", "hello")
        print(sandbox.exec("cat notes.txt").stdout)
"""

from atoll.client.aio.api import AsyncAtoll
from atoll.client.aio.attach import AsyncTerminal
from atoll.client.aio.files import AsyncFiles
from atoll.client.aio.processes import AsyncProcess
from atoll.client.aio.sandbox import AsyncSandbox
from atoll.client.bodies import Code, Command
from atoll.client.errors import (
    AtollError,
    BackendFault,
    Busy,
    Conflict,
    Forbidden,
    Gone,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    Problem,
    QuotaExceeded,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unreachable,
    Unsupported,
)
from atoll.client.model import (
    AuditEvent,
    BackendInfo,
    Change,
    Event,
    Exit,
    FileInfo,
    Finished,
    KeyInfo,
    LanguageInfo,
    Output,
    PostMortem,
    ProcessInfo,
    ProfileInfo,
    Result,
    SandboxInfo,
    SnapshotInfo,
    Started,
    Usage,
)
from atoll.client.retry import Retry
from atoll.client.sync.api import Atoll
from atoll.client.sync.attach import Terminal
from atoll.client.sync.files import Files
from atoll.client.sync.processes import Process
from atoll.client.sync.sandbox import Sandbox

__all__ = [
    "AsyncAtoll",
    "AsyncFiles",
    "AsyncProcess",
    "AsyncSandbox",
    "AsyncTerminal",
    "Atoll",
    "AtollError",
    "AuditEvent",
    "BackendFault",
    "BackendInfo",
    "Busy",
    "Change",
    "Code",
    "Command",
    "Conflict",
    "Event",
    "Exit",
    "FileInfo",
    "Files",
    "Finished",
    "Forbidden",
    "Gone",
    "InvalidRequest",
    "KeyInfo",
    "LanguageInfo",
    "NotFound",
    "Output",
    "PostMortem",
    "PreconditionFailed",
    "Problem",
    "Process",
    "ProcessInfo",
    "ProfileInfo",
    "QuotaExceeded",
    "Result",
    "Retry",
    "Sandbox",
    "SandboxInfo",
    "SnapshotInfo",
    "Started",
    "Terminal",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "Unsupported",
    "Usage",
]
