"""Swagger UI, from a package and not from somebody else's server."""

import mimetypes

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)
ASSETS = "/docs/assets"


def assets() -> StaticFiles:
    """The scripts and styles of the page. Blocks a little: at start only."""
    mimetypes.init()
    return StaticFiles(packages=[("fastapi_offline", "static")])


@router.get("/")
async def index(request: Request) -> RedirectResponse:
    """Lead a person to the documentation."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Show the API."""
    root = request.scope.get("root_path", "")
    return get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="Atoll",
        swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
    )
