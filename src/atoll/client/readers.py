"""From JSON answers to the values of `model`."""

import base64

from atoll.client import model
from atoll.client.document import Document
from atoll.client.errors import problem_in
from atoll.client.sse import ServerEvent

LAST_EVENT = "exit"


def leave(document: Document) -> model.Exit:
    """How a program ended."""
    usage = document.inner("usage")
    return model.Exit(
        exit_code=document.maybe_whole("exit_code"),
        reason=document.text("reason", "unknown"),
        signal=document.maybe_whole("signal"),
        truncated=document.flag("truncated"),
        usage=model.Usage(
            usage.number("wall_s"), usage.number("cpu_s"), usage.whole("peak_memory_bytes")
        ),
        detail=document.text("detail"),
        results=document.scalars("results"),
    )


def content(document: Document, key: str) -> bytes:
    """Bytes in the encoding that the document names."""
    text = document.text(key)
    if document.text("encoding") == "base64":
        return base64.b64decode(text)
    return text.encode("utf-8", "surrogatepass")


def result(document: Document) -> model.Result:
    """The end of a program, with its output."""
    return model.Result(
        id=document.text("id"),
        exit=leave(document),
        stdout_bytes=content(document, "stdout"),
        stderr_bytes=content(document, "stderr"),
        timings=document.numbers("timings"),
        backend=document.text("backend"),
        result=document.fields.get("result"),
        error=document.fields.get("error"),
    )


def batch_item(document: Document) -> model.BatchItem:
    """One of a batch: a result, or the problem that this one had."""
    if document.has("error"):
        return problem_in(document.inner("error").fields)
    return result(document.inner("result"))


def check_event(happened: ServerEvent) -> None:
    """Raise the `Problem` that any stream can end with."""
    if happened.name == "error":
        raise problem_in(Document.parse(happened.data).fields)


def event(happened: ServerEvent) -> model.Event | None:
    """An event of a program's stream; None for a kind this client does not know."""
    document = Document.parse(happened.data)
    if happened.name in {"stdout", "stderr"}:
        return output(happened, document)
    if happened.name == "started":
        return model.Started(
            document.text("id"), document.maybe_whole("pid"), document.text("backend")
        )
    if happened.name == LAST_EVENT:
        return model.Finished(
            id=document.text("id"),
            exit=leave(document),
            timings=document.numbers("timings"),
            result=document.fields.get("result"),
            error=document.fields.get("error"),
        )
    return None


def output(happened: ServerEvent, document: Document) -> model.Output:
    """A piece of output."""
    return model.Output(
        channel=happened.name,
        data=content(document, "data"),
        position=happened.id,
        skipped=document.whole("skipped"),
    )


def sandbox(document: Document) -> model.SandboxInfo:
    """A sandbox."""
    return model.SandboxInfo(
        id=document.text("id"),
        name=document.maybe_text("name"),
        state=document.text("state"),
        backend=document.text("backend"),
        image=document.text("image"),
        profile=document.text("profile"),
        limits=document.numbers("limits"),
        env=document.strings("env"),
        labels=document.strings("labels"),
        base=document.maybe_text("base"),
        created_at=document.number("created_at"),
        last_used_at=document.number("last_used_at"),
        idle_timeout_s=document.maybe_number("idle_timeout_s"),
        expires_at=document.maybe_number("expires_at"),
        read_only_root=document.flag("read_only_root"),
        auto_delete_s=document.maybe_number("auto_delete_s"),
        secrets=document.words("secrets"),
        version=document.whole("version"),
        ports=tuple(each for each in document.scalars("ports") if isinstance(each, int)),
        auto_archive_s=document.maybe_number("auto_archive_s"),
        archived_at=document.maybe_number("archived_at"),
        archived_by=document.maybe_text("archived_by"),
    )


def process(document: Document) -> model.ProcessInfo:
    """A program in a sandbox."""
    return model.ProcessInfo(
        sandbox_id=document.text("sandbox_id"),
        pid=document.whole("pid"),
        argv=document.words("argv"),
        cwd=document.text("cwd"),
        tty=document.flag("tty"),
        background=document.flag("background"),
        started_at=document.number("started_at"),
        ended_at=document.maybe_number("ended_at"),
        exit=leave(document.inner("exit")) if document.has("exit") else None,
    )


def file(document: Document) -> model.FileInfo:
    """One path."""
    return model.FileInfo(
        path=document.text("path"),
        href=document.text("href"),
        kind=document.text("kind"),
        size=document.whole("size"),
        mode=document.whole("mode"),
        mtime=document.number("mtime"),
        etag=document.text("etag"),
        target=document.maybe_text("target"),
    )


def snapshot(document: Document) -> model.SnapshotInfo:
    """A frozen sandbox."""
    return model.SnapshotInfo(
        id=document.text("id"),
        name=document.maybe_text("name"),
        sandbox_id=document.text("sandbox_id"),
        backend=document.text("backend"),
        image=document.text("image"),
        created_at=document.number("created_at"),
        size_bytes=document.whole("size_bytes"),
        labels=document.strings("labels"),
    )


def post_mortem(document: Document) -> model.PostMortem:
    """Why a sandbox ended."""
    return model.PostMortem(
        sandbox_id=document.text("sandbox_id"),
        ended_by=document.text("ended_by"),
        detail=document.text("detail"),
        at=document.number("at"),
        last_output=document.text("last_output"),
    )


def audit_event(document: Document) -> model.AuditEvent:
    """One line of the audit log."""
    return model.AuditEvent(
        seq=document.whole("seq"),
        at=document.number("at"),
        tenant=document.text("tenant"),
        actor=document.text("actor"),
        action=document.text("action"),
        outcome=document.text("outcome"),
        sandbox_id=document.maybe_text("sandbox_id"),
        detail=document.strings("detail"),
        hash=document.text("hash"),
        previous=document.text("previous"),
    )


def key(document: Document) -> model.KeyInfo:
    """An API key."""
    return model.KeyInfo(
        id=document.text("id"),
        tenant=document.text("tenant"),
        name=document.text("name"),
        prefix=document.text("prefix"),
        admin=document.flag("admin"),
        created_at=document.number("created_at"),
        expires_at=document.maybe_number("expires_at"),
        key=document.maybe_text("key"),
    )


def event_page(document: Document) -> model.EventPage:
    """A piece of the audit log."""
    items = tuple(audit_event(each) for each in document.items("items"))
    return model.EventPage(items, document.text("next_cursor"))


def change(document: Document) -> model.Change:
    """Something that happened to a path."""
    return model.Change(document.text("kind"), document.text("path"))


def language(document: Document) -> model.LanguageInfo:
    """A language."""
    return model.LanguageInfo(
        name=document.text("name"),
        title=document.text("title"),
        aliases=document.words("aliases"),
        extension=document.text("extension"),
        available=document.flag("available"),
        hint=document.maybe_text("hint"),
    )


def profile(document: Document) -> model.ProfileInfo:
    """A named set of rules."""
    return model.ProfileInfo(
        name=document.text("name"),
        description=document.text("description"),
        default=document.flag("default"),
        limits=document.numbers("limits"),
        network=document.inner("network").text("mode"),
        network_in_force=document.inner("network_in_force").text("mode"),
        min_isolation=document.maybe_text("min_isolation"),
        read_only_root=document.flag("read_only_root"),
    )


def backend(document: Document) -> model.BackendInfo:
    """A kind of isolation."""
    return model.BackendInfo(
        name=document.text("name"),
        usable=document.flag("usable"),
        isolation=document.text("isolation"),
        why=document.text("why"),
        capabilities=document.words("capabilities"),
        facts=document.strings("facts"),
    )
