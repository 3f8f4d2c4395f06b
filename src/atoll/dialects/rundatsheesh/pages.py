"""The pages for people: a little console, the document, Swagger UI."""

from importlib import resources

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from atoll.dialects.rundatsheesh.state import state
from atoll.http.pages import ASSETS

router = APIRouter(include_in_schema=False)


def text() -> str:
    """The console's page. Blocks."""
    return (
        resources.files("atoll.dialects.rundatsheesh").joinpath("console.html").read_text("utf-8")
    )


@router.get("/")
async def console(request: Request) -> Response:
    """Log in, see the VMs and what has happened."""
    root = request.scope.get("root_path", "")
    text = state(request).console.replace("__ROOT__", root)
    return HTMLResponse(text, headers={"content-security-policy": _CSP})


_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


@router.get("/openapi.json")
@router.get("/swagger/json")
@router.get("/swagger/openapi.json")
@router.get("/docs/openapi.json")
async def openapi(request: Request) -> Response:
    """Describe the API."""
    return JSONResponse(request.app.openapi())


@router.get("/swagger")
@router.get("/docs")
async def swagger(request: Request) -> Response:
    """Show the API."""
    root = request.scope.get("root_path", "")
    return get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="run-dat-sheesh API",
        swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
    )
