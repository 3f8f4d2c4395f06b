"""Images: everybody sees them, admins change them."""

from collections.abc import AsyncGenerator

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.images import Collected, Image
from atoll.http.answers import reply
from atoll.http.bodies import read
from atoll.http.describe import op, streaming
from atoll.http.front import caller, front
from atoll.http.schemas.images import CollectedOut, ImageList, ImageOut, PullImageRequest
from atoll.http.sse import EventStream, event
from atoll.service.images import Pull

router = APIRouter(tags=["images"])


@router.get("/v1/images", **op("list_images", gives=ImageList))
async def list_all(request: Request) -> Response:
    """List the images of the store."""
    found = await front(request).services.images.list()
    return reply({"items": [_body(each) for each in found]})


@router.post(
    "/v1/images",
    **op(
        "pull_image",
        takes=PullImageRequest,
        fails=(424, 429),
        answers=streaming("progress", "done", "error"),
    ),
)
async def pull(request: Request) -> Response:
    """Pull or build an image, and tell how far it is. For admins.

    It goes on when the stream is closed; asking again for the same name joins it.
    """
    here, who = front(request), caller(request)
    wanted = await read(request, PullImageRequest)
    return EventStream(here, _told(here.services.images.pull(who, wanted.name)))


async def _told(pull: Pull) -> AsyncGenerator[bytes, None]:
    async for progress in pull.follow():
        if progress.stage != "waiting":
            told = {"stage": progress.stage, "bytes": progress.bytes, "detail": progress.detail}
            yield event("progress", told)
    if pull.error is not None:
        raise pull.error
    if pull.image is not None:
        yield event("done", _body(pull.image))


@router.post("/v1/images/gc", **op("collect_images", gives=CollectedOut, fails=(429,)))
async def collect(request: Request) -> Response:
    """Remove the images that nothing needs. For admins."""
    done = await front(request).services.images.collect(caller(request))
    return reply(_collected(done))


@router.get("/v1/images/{name:path}", **op("get_image", gives=ImageOut, fails=(404,)))
async def get(request: Request, name: str) -> Response:
    """Get an image by its name or its digest."""
    return reply(_body(await front(request).services.images.get(name)))


@router.delete("/v1/images/{name:path}", **op("remove_image", status=204, fails=(404,)))
async def remove(request: Request, name: str) -> Response:
    """Forget a name; its image goes with the next collection. For admins."""
    await front(request).services.images.remove(caller(request), name)
    return Response(status_code=204)


def _collected(done: Collected) -> dict[str, object]:
    """What a collection has removed."""
    return {
        "images": list(done.images),
        "layers": done.layers,
        "blobs": done.blobs,
        "freed_bytes": done.freed_bytes,
    }


def _body(image: Image) -> dict[str, object]:
    return {
        "digest": f"sha256:{image.digest}",
        "names": list(image.names),
        "source": image.source,
        "size_bytes": image.size_bytes,
        "layers": len(image.layers),
        "created_at": image.created_at,
        "env": dict(image.env),
        "workdir": image.workdir,
        "user": image.user,
        "entrypoint": list(image.entrypoint),
        "command": list(image.command),
    }
