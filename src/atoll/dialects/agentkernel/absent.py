"""What agentkernel has and this server has not yet: 501, and a line of the parity table each."""

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request

from atoll.dialects.agentkernel.errors import NotYet
from atoll.http.dialect import own_path
from atoll.http.errors import Refused

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
# The first word of the path, and what to call it.
GROUPS: Mapping[str, str] = {
    "orchestrations": "Durable orchestrations",
    "tasks": "Tasks",
    "stores": "Durable stores",
    "objects": "Durable objects",
    "schedules": "Schedules",
    "agents": "Agents",
    "audit": "The audit log of the whole server",
    "secrets": "Secrets",
    "proxy": "The proxy",
    "llm": "Language models",
    "gc": "Garbage collection",
    "lifecycle": "Lifecycle reconciliation",
    "images": "Image management",
    "benchmark": "The benchmark",
    "sessions": "Recorded sessions",
    "permissions": "Permissions",
    "policy": "Policies",
    "quotas": "Quotas",
    "scim": "SCIM",
    "opencode": "The OpenCode API",
}
# The same after `/sandboxes/NAME/`.
OF_SANDBOXES: Mapping[str, str] = {
    "resize": "Resizing a sandbox",
    "recover": "Recovering a sandbox",
    "config": "A sandbox's configuration",
    "git": "Git",
    "browser": "The browser",
}
_THIRD = 3
router = APIRouter()


@router.api_route("/{path:path}", methods=METHODS, include_in_schema=False)
async def absent(request: Request) -> None:
    """Say of every other path whether agentkernel has it."""
    words = [word for word in own_path(request.scope).split("/") if word]
    what = GROUPS.get(words[0]) if words else None
    if words[:2] == ["sandboxes", "import-config"]:
        what = "Importing a configuration"
    elif words[:1] == ["sandboxes"] and len(words) >= _THIRD:
        what = OF_SANDBOXES.get(words[2])
    if what is None:
        raise Refused(404, "Not found")
    raise NotYet(what)
