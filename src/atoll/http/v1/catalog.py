"""What there is on this server."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.profiles import NO_NETWORK
from atoll.http.answers import Json, backend_body, limits_body, network_body, reply
from atoll.http.describe import op, ref
from atoll.http.front import Front, front
from atoll.http.schemas.catalog import BackendList, LanguageList, ProfileList, ToolList
from atoll.service.backends import NETWORK
from atoll.service.tools import catalogue, schemas

router = APIRouter(tags=["catalog"])


@router.get("/v1/languages", **op("list_languages", gives=LanguageList))
async def languages(request: Request) -> Response:
    """List the languages, those included that this host lacks."""
    known = front(request).services.languages
    await known.look_for()
    items = [
        {
            "name": each.name,
            "title": each.title,
            "aliases": list(each.aliases),
            "extension": each.extension,
            "entry": each.entry,
            "available": known.is_available(each),
            "hint": None if known.is_available(each) else each.install_hint,
        }
        for each in known.all()
    ]
    return reply({"items": items})


@router.get("/v1/backends", **op("list_backends", gives=BackendList))
async def backends(request: Request) -> Response:
    """List the kinds of isolation, and what holds for each on this host."""
    reports = await front(request).services.backends.reports()
    return reply({"items": [backend_body(each) for each in reports]})


@router.get("/v1/profiles", **op("list_profiles", gives=ProfileList))
async def profiles(request: Request) -> Response:
    """List the named sets of rules."""
    here = front(request)
    known, reports = here.settings.profile_set, await here.services.backends.reports()
    able = any(each.usable and NETWORK in each.capabilities for each in reports)
    items: list[Json] = [
        {
            "name": each.name,
            "description": each.description,
            "default": each.name == known.default,
            "limits": limits_body(each.limits),
            "network": network_body(each.network),
            "network_in_force": network_body(known.network(each) if able else NO_NETWORK),
            "min_isolation": each.min_isolation and each.min_isolation.name.lower(),
            "read_only_root": each.read_only_root,
            "mounts": [],
        }
        for each in known
    ]
    return reply({"items": items})


@router.get(
    "/v1/tools",
    **op(
        "list_tools",
        answers={
            200: {
                "description": "With a `format`: the list that the vendor's `tools` takes.",
                "content": {
                    "application/json": {
                        "schema": {
                            "anyOf": [
                                ref(ToolList),
                                {"type": "array", "items": {"type": "object"}},
                            ]
                        }
                    }
                },
            }
        },
    ),
)
async def tools(
    request: Request,
    format: Annotated[Literal["openai", "anthropic"] | None, Query()] = None,  # noqa: A002
) -> Response:
    """Give tools for a language model, to be called as they are."""
    names = await _available(front(request))
    if format is not None:
        return reply(schemas(format, names))
    items = [
        {
            "name": tool.name,
            "description": tool.description,
            "method": tool.method,
            "path": tool.path,
            "input_schema": tool.parameters(),
        }
        for tool in catalogue(names)
    ]
    return reply({"items": items})


async def _available(here: Front) -> list[str]:
    known = here.services.languages
    await known.look_for()
    return [each.name for each in known.all() if known.is_available(each)]
