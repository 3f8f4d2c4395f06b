"""What is put before programs that give back a JSON value: files of guest/scripts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.core.images import HOST

# Where sandboxes of the host's image have them.
PLACE = "/opt/atoll/scripts"
DENO, NODE, PYTHON = "deno.js", "node.cjs", "run.py"


@dataclass(frozen=True, slots=True)
class Preludes:
    """Their contents by name, for sandboxes of images, which have nothing of ours."""

    contents: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def before(self, name: str, image: str, nonce: str) -> tuple[str, dict[str, bytes]]:
        """The path of one in a sandbox, and the file to write there first, if it is to be."""
        if image == HOST:
            return f"{PLACE}/{name}", {}
        path = f"/tmp/.atoll-{nonce[:16]}-{name}"  # noqa: S108 - a guest's
        return path, {path: self.contents[name]}
