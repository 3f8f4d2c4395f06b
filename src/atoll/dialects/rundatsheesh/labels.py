"""What a sandbox's labels say of the VM that it is: written with its record, in one step."""

from collections.abc import Mapping
from dataclasses import dataclass

DIALECT = "dialect"
NAME = "run-dat-sheesh"
SEED = "run-dat-sheesh/seed"
OWN: Mapping[str, str] = {DIALECT: NAME}
_PEER = "rds.peer."


@dataclass(frozen=True, slots=True)
class PeerLink:
    """Another VM that this one may call, by an alias."""

    alias: str
    vm_id: str
    mounted: bool = False

    def shown(self) -> dict[str, str]:
        """As clients see it."""
        mode = "mounted" if self.mounted else "hidden"
        return {"alias": self.alias, "vmId": self.vm_id, "sourceMode": mode}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """`stopped` is what the client wants, not what is: a server that ends stops all of them."""

    internet: bool = False
    image: str | None = None
    snapshot: bool = False
    stopped: bool = False
    links: tuple[PeerLink, ...] = ()

    def labels(self) -> dict[str, str]:
        """All of it as labels."""
        found = dict(OWN)
        if self.internet:
            found["rds.internet"] = "true"
        if self.image is not None:
            found["rds.image"] = self.image
        if self.snapshot:
            found["rds.snapshot"] = "true"
        if self.stopped:
            found["rds.stopped"] = "true"
        for each in self.links:
            found[_PEER + each.alias] = f"{each.vm_id} {'mounted' if each.mounted else 'hidden'}"
        return found


def notes(labels: Mapping[str, str]) -> Notes:
    """What the labels say."""
    links: list[PeerLink] = []
    for name, value in labels.items():
        if name.startswith(_PEER):
            vm_id, _, mode = value.partition(" ")
            links.append(PeerLink(name[len(_PEER) :], vm_id, mode == "mounted"))
    return Notes(
        internet="rds.internet" in labels,
        image=labels.get("rds.image"),
        snapshot="rds.snapshot" in labels,
        stopped="rds.stopped" in labels,
        links=tuple(links),
    )
