"""From the body of a create to what the core is asked for."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.core.errors import NotFound
from atoll.core.model import MIB, Limits, NetworkPolicy
from atoll.core.records import SnapshotRecord
from atoll.dialects.rundatsheesh.errors import SheeshError, bad
from atoll.dialects.rundatsheesh.labels import PeerLink
from atoll.dialects.rundatsheesh.names import snapshot_of
from atoll.dialects.rundatsheesh.options import Options
from atoll.http.services import Services
from atoll.service.caller import Caller

KIND = "rds.kind"
OVERLAY = "user_overlay"
IMAGE = "rds.image"
DISK_MB, DISK_LEAST_MB = 512, 64
MEM_LEAST_MB = 64
PROCESSES, OPEN_FILES, DISK_FILES = 1024, 8192, 200_000
# What programs in a VM of run-dat-sheesh have in their environment besides what every one has.
ENV: Mapping[str, str] = {"TMPDIR": "/tmp", "NODE_OPTIONS": "--jitless"}  # noqa: S108 - a guest's
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A VM to make, with all that a body alone can tell found right."""

    limits: Limits
    allow: tuple[str, ...]
    internet: bool
    snapshot: SnapshotRecord | None
    image: str | None
    secrets: Mapping[str, str]
    links: tuple[PeerLink, ...]


async def understood(
    services: Services, options: Options, who: Caller, body: Mapping[str, Any], most: Limits
) -> Wish:
    """The wish. `SheeshError` in run-dat-sheesh's words."""
    cpu, memory = body["cpu"], body["memMb"]
    if not (isinstance(cpu, int) and 1 <= cpu <= options.max_cpu):
        raise bad(f"Invalid cpu (maxCpu={options.max_cpu})")
    if not (isinstance(memory, int) and MEM_LEAST_MB <= memory <= options.max_mem_mb):
        raise bad(f"Invalid memMb (maxMemMb={options.max_mem_mb})")
    disk = body.get("diskSizeMb", DISK_MB)
    if disk < DISK_LEAST_MB:
        raise bad(f"diskSizeMb too small (min={DISK_LEAST_MB})")
    if disk * MIB > most.disk_bytes:
        raise bad(f"diskSizeMb too large (max={most.disk_bytes // MIB})")
    snapshot = await _snapshot(services, who, body)
    return Wish(
        limits=Limits(
            memory_bytes=memory * MIB,
            cpus=float(cpu),
            processes=min(PROCESSES, most.processes),
            disk_bytes=disk * MIB,
            disk_files=min(DISK_FILES, most.disk_files),
            open_files=min(OPEN_FILES, most.open_files),
        ),
        allow=_allowed(body["allowIps"], options.max_allow_ips),
        internet=bool(body.get("outboundInternet", False)),
        snapshot=snapshot,
        image=_image(body, snapshot),
        secrets=_secrets(body.get("secretEnv", []), options),
        links=_links(body.get("peerLinks", [])),
    )


def policy(wish: Wish, modes: tuple[str, ...]) -> NetworkPolicy:
    """What it may reach: what is wished for, as far as the operator lets anybody have it."""
    if wish.internet and "internet" in modes:
        return NetworkPolicy("internet", wish.allow)
    if "allow" in modes:
        return NetworkPolicy("allow", wish.allow)
    return NetworkPolicy()


def _allowed(entries: list[str], most: int) -> tuple[str, ...]:
    if len(entries) > most:
        raise bad(f"Too many allowIps (maxAllowIps={most})")
    try:
        return tuple(str(ipaddress.IPv4Network(each, strict=False)) for each in entries)
    except ValueError:
        raise bad("Invalid allowIps entry") from None


async def _snapshot(
    services: Services, who: Caller, body: Mapping[str, Any]
) -> SnapshotRecord | None:
    wanted = body.get("userOverlaySnapshotId") or body.get("snapshotId")
    if not wanted:
        return None
    own = snapshot_of(wanted)
    if own is None:
        raise SheeshError(404, "User overlay snapshot not found")
    try:
        found = await services.snapshots.get(who, own)
    except NotFound:
        raise SheeshError(404, "User overlay snapshot not found") from None
    if found.labels.get(KIND) != OVERLAY:
        raise bad("Snapshot is not a user overlay snapshot")
    return found


def _image(body: Mapping[str, Any], snapshot: SnapshotRecord | None) -> str | None:
    wanted: str | None = body.get("imageId") or None
    if snapshot is None:
        return wanted
    own = snapshot.labels.get(IMAGE)
    if wanted is not None and wanted != own:
        raise bad("Snapshot image mismatch")
    return own


def variables(pairs: list[str], field: str) -> dict[str, str]:
    """`K=V` each. 400 for what is none."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not _VARIABLE.fullmatch(name) or "\0" in value:
            raise bad(f"Invalid {field} entry: expected KEY=value")
        found[name] = value
    return found


def _secrets(pairs: list[str], options: Options) -> dict[str, str]:
    if pairs and options.vm_secret_key is None:
        raise SheeshError(500, "VM_SECRET_KEY is required for peer secret env support")
    return variables(pairs, "secretEnv")


def _links(given: list[Mapping[str, str]]) -> tuple[PeerLink, ...]:
    links = tuple(
        PeerLink(each["alias"], each["vmId"], each.get("sourceMode") == "mounted") for each in given
    )
    names = [each.alias for each in links]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise bad(f"Peer alias {double}: declared twice")
    return links
