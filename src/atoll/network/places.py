"""Which addresses and which link a sandbox gets. Every server of this host takes from one pool.

A place is a file that its server made and holds locked; what a killed server has left is known by
its owner's name in the file, and free again once its link is gone.
"""

import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from atoll.core.errors import Unavailable

# 100.64.0.0/10 is for what is between a carrier and its customers (RFC 6598): no private network
# of an operator's uses it. Sandboxes get its first quarter, four addresses each.
POOL4 = "100.64.0.0/12"
POOL6 = "fd61:746f:6c6c::/48"
PLACES = 16_384
_BASE4 = int(IPv4Address("100.64.0.0"))
_BASE6 = int(IPv6Address("fd61:746f:6c6c::"))
_STEP = 4


@dataclass(frozen=True, slots=True)
class Place:
    """One sandbox's share: the number, and what follows from it."""

    number: int
    owner: str

    @property
    def link(self) -> str:
        """The name of the host's end; the kernel takes 15 characters."""
        return f"{prefix(self.owner)}{self.number}"

    @property
    def gateway4(self) -> str:
        """The host's end."""
        return str(IPv4Address(_BASE4 + self.number * _STEP + 1))

    @property
    def guest4(self) -> str:
        """The sandbox's end."""
        return str(IPv4Address(_BASE4 + self.number * _STEP + 2))

    @property
    def gateway6(self) -> str:
        """The host's end."""
        return str(IPv6Address(_BASE6 + (self.number << 16) + 1))

    @property
    def guest6(self) -> str:
        """The sandbox's end."""
        return str(IPv6Address(_BASE6 + (self.number << 16) + 2))


def prefix(owner: str) -> str:
    """How all links of a server begin."""
    return f"at{owner[:7]}."


class Places:
    """The places of this host, of which this server has some. `owner` is its own name, in hex."""

    def __init__(self, directory: Path, owner: str) -> None:
        self._directory = directory
        self._owner = owner
        self._next = 1

    def take(self) -> Place:
        """One that no server has. `Unavailable` when all are taken."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for step in range(PLACES - 1):
            number = (self._next + step - 1) % (PLACES - 1) + 1
            try:
                fd = os.open(
                    self._directory / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600
                )
            except FileExistsError:
                continue
            with os.fdopen(fd, "w") as file:
                file.write(self._owner)
            self._next = number + 1
            return Place(number, self._owner)
        raise Unavailable(f"All {PLACES - 1} places of sandboxes with a network are taken.")

    def give_back(self, place: Place) -> None:
        """It may be taken again. Idempotent."""
        (self._directory / str(place.number)).unlink(missing_ok=True)

    def left_over(self) -> list[Place]:
        """What this server holds by the files, also from before it was killed."""
        found: list[Place] = []
        try:
            names = sorted(each.name for each in self._directory.iterdir())
        except FileNotFoundError:
            return found
        for name in names:
            try:
                owner = (self._directory / name).read_text()
            except OSError:
                continue
            if name.isdigit() and owner == self._owner:
                found.append(Place(int(name), owner))
        return found
