"""VMs that call functions of other VMs: linking, what a consumer gets, the calls."""

import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, cast

import anyio
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import AtollError, Conflict, InvalidRequest, NotFound
from atoll.core.model import WORKSPACE
from atoll.core.records import SandboxRecord
from atoll.dialects.rundatsheesh import manifests
from atoll.dialects.rundatsheesh.bodies import INVOKE, PROGRAM_BYTES, SOURCE_MODE, read
from atoll.dialects.rundatsheesh.errors import SheeshError, bad, unauthorized
from atoll.dialects.rundatsheesh.labels import PeerLink, notes
from atoll.dialects.rundatsheesh.machines import RUNNING, state_of
from atoll.dialects.rundatsheesh.manifests import Peer
from atoll.dialects.rundatsheesh.names import vm_id
from atoll.dialects.rundatsheesh.state import State, done, reply, state
from atoll.dialects.rundatsheesh.who import admitted
from atoll.service.caller import Caller
from atoll.service.scripts import Script, ScriptResult

router = APIRouter()
_EXAMINE_S = 30.0
_INVOKE_MS = 30_000
_KEPT_BYTES = 64 * 1024


async def examined(here: State, who: Caller, links: Iterable[PeerLink]) -> Sequence[Peer]:
    """Look at the providers of links: each offers what its manifest says. 400 `Peer alias …`."""
    return [await _examined(here, who, link) for link in links]


async def furnish(here: State, who: Caller, record: SandboxRecord, peers: Sequence[Peer]) -> None:
    """Give a consumer the files for its peers, in the place of earlier ones."""
    if not peers:
        return
    tar = manifests.archive(peers)
    with anyio.CancelScope(shield=True):
        place = f"{WORKSPACE}/{manifests.PEERS}"
        with suppress(NotFound):
            await here.services.files.remove(who, record.id, place, recursive=True)
        await here.services.files.unpack(who, record.id, WORKSPACE, _once(tar))
    await here.bridges.ensure(who, record)


@router.post("/v1/vms/{vm}/peers/sync", status_code=204)
async def sync_peers(request: Request, vm: str) -> Response:
    """Look at the providers again, and renew what the VM has of them."""
    here, who = state(request), await admitted(request)
    record = await here.machines.running(who, vm)
    await furnish(here, who, record, await examined(here, who, notes(record.labels).links))
    return done()


@router.patch("/v1/vms/{vm}/peers/{alias}", status_code=204)
async def change_peer(request: Request, vm: str, alias: str) -> Response:
    """Mount a provider's sources, or hide them."""
    here = state(request)
    body = await read(request, SOURCE_MODE)
    who = await admitted(request)
    record = await here.machines.running(who, vm)
    said = notes(record.labels)
    if all(each.alias != alias for each in said.links):
        raise SheeshError(404, f"Peer alias {alias[:100]} not found")
    links = tuple(
        replace(each, mounted=body["sourceMode"] == "mounted") if each.alias == alias else each
        for each in said.links
    )
    found = await examined(here, who, links)
    record = await here.machines.relabel(who, record, replace(said, links=links))
    await furnish(here, who, record, found)
    return done()


@router.get("/internal/v1/peer/invoke")
async def invoke_get(request: Request) -> Response:
    """Calls are posted."""
    _ = request
    raise SheeshError(405, "Method Not Allowed")


@router.post("/internal/v1/peer/invoke")
async def invoke_post(request: Request) -> Response:
    """Call a function of a peer, for a VM with its token."""
    here = state(request)
    body = await read(request, INVOKE, PROGRAM_BYTES)
    return reply(await invoke(here, request.headers.get("authorization", ""), body))


async def invoke(here: State, authorization: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What the function returns. 401, 403 alias not linked, 409 not running, 502 its error."""
    scheme, _, token = authorization.partition(" ")
    consumer_id = await here.bridges.bearer(token.strip()) if scheme.lower() == "bearer" else None
    if consumer_id is None:
        raise unauthorized()
    who = here.bridges.caller
    consumer = await here.machines.find(who, vm_id(consumer_id))
    alias = body["alias"]
    link = next((each for each in notes(consumer.labels).links if each.alias == alias), None)
    if link is None:
        raise SheeshError(403, f"Peer alias {alias[:100]} is not linked")
    provider = await _provider(here, who, link, 409)
    manifest = await _manifest(here, who, link, provider)
    if not manifests.declares(manifest, body["modulePath"], body["exportName"]):
        raise SheeshError(403, f"Peer alias {alias}: export is not declared in its manifest")
    try:
        called = await _called(here, who, provider, body)
    except AtollError as error:
        raise SheeshError(502, f"Peer alias {alias}: {error.detail}") from None
    if called.reported.error is not None or not called.reported.has_result:
        raise SheeshError(502, f"Peer alias {alias}: {_why(called)}")
    return {"result": called.reported.result}


async def _examined(here: State, who: Caller, link: PeerLink) -> Peer:
    provider = await _provider(here, who, link, 400)
    manifest = await _manifest(here, who, link, provider)
    wanted: list[tuple[str, list[str]]] = [
        (each["path"], [one["name"] for one in each["exports"]]) for each in manifest["modules"]
    ]
    code = _EXAMINE.replace("__WANTED__", json.dumps(wanted))
    found = await _script(here, who, provider, code, _EXAMINE_S)
    result: object = found.reported.result
    if not isinstance(result, list):
        raise bad(f"Peer alias {link.alias}: provider modules cannot be loaded: {_why(found)}")
    missing = cast("list[object]", result)
    for path, name in ((path, name) for path, names in wanted for name in names):
        if [path, name] in missing:
            raise bad(f"Peer alias {link.alias}: declared export {name} is not callable in {path}")
    sources: dict[str, bytes] = {}
    if link.mounted:
        for module in manifest["modules"]:
            path = module["path"]
            where = f"{WORKSPACE}/{path}"
            sources[path] = await _content(here, who, provider, where, manifests.SOURCE_BYTES)
    return Peer(link, manifest, sources)


# Tells what is declared and is no function; fails with the module that does not load.
_EXAMINE = """
const missing = [];
for (const [path, names] of __WANTED__) {
  const found = await import(`file:///workspace/${path}`);
  for (const name of names) if (typeof found[name] !== "function") missing.push([path, name]);
}
result.set(missing);
"""
_CALL = """
const found = await import(__MODULE__);
result.set(await found[__EXPORT__](...__ARGS__));
"""


async def _called(
    here: State, who: Caller, provider: SandboxRecord, body: Mapping[str, Any]
) -> ScriptResult:
    code = (
        _CALL.replace("__MODULE__", json.dumps(f"file://{WORKSPACE}/{body['modulePath']}"))
        .replace("__EXPORT__", json.dumps(body["exportName"]))
        .replace("__ARGS__", json.dumps(body.get("args", [])))
    )
    return await _script(here, who, provider, code, body.get("timeoutMs", _INVOKE_MS) / 1000)


async def _script(
    here: State, who: Caller, provider: SandboxRecord, code: str, wall_s: float
) -> ScriptResult:
    provider = await here.machines.running(who, vm_id(provider.id))
    script = Script(
        language="typescript",
        code=code,
        network=notes(provider.labels).internet,
        wall_s=wall_s,
        cpu_s=2 * wall_s,
        keep_bytes=_KEPT_BYTES,
    )
    return await here.services.scripts.run(who, provider.id, script)


async def _provider(here: State, who: Caller, link: PeerLink, status: int) -> SandboxRecord:
    try:
        record = await here.machines.find(who, link.vm_id)
    except SheeshError:
        raise SheeshError(status, f"Peer alias {link.alias}: provider VM not found") from None
    if state_of(record) != RUNNING:
        text = f"Peer alias {link.alias}: provider VM is not RUNNING"
        raise SheeshError(status, text)
    return record


async def _manifest(
    here: State, who: Caller, link: PeerLink, provider: SandboxRecord
) -> Mapping[str, Any]:
    try:
        data = await _content(here, who, provider, manifests.PLACE, manifests.MANIFEST_BYTES)
    except SheeshError:
        text = f"Peer alias {link.alias}: missing provider manifest at {manifests.PLACE}"
        raise bad(text) from None
    return manifests.understood(link.alias, data)


async def _content(here: State, who: Caller, record: SandboxRecord, path: str, most: int) -> bytes:
    """A file of a VM, if it is not too large. 400."""
    data = bytearray()
    try:
        reading = here.services.files.read(who, record.id, path, length=most + 1)
        async with aclosing(reading) as chunks:
            async for chunk in chunks:
                data += chunk
    except (NotFound, InvalidRequest, Conflict):
        raise bad(f"{path} cannot be read") from None
    if len(data) > most:
        raise bad(f"{path} is larger than {most} bytes")
    return bytes(data)


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


def _why(found: ScriptResult) -> str:
    error: object = found.reported.error
    if not isinstance(error, Mapping):
        return "it ended without a result"
    return str(cast("Mapping[str, object]", error).get("message", ""))[:500]
