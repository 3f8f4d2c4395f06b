"""What there is on this server."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.policy import PROFILES
from atoll.http.answers import backend_body, limits_body, network_body, reply
from atoll.http.describe import op, ref
from atoll.http.front import Front, front
from atoll.http.schemas.catalog import BackendList, LanguageList, ProfileList, ToolList
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
    """List the named sets of limits."""
    usual = front(request).settings.default_profile
    items = [
        {
            "name": each.name,
            "description": each.description,
            "default": each.name == usual,
            "limits": limits_body(each.limits),
            "network": network_body(each.network),
        }
        for each in PROFILES.values()
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
