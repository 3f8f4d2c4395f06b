"""Images of the store."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from atoll.http.schemas.words import AnswerModel, Plain, RequestModel

ImageName = Annotated[Plain, StringConstraints(min_length=1, max_length=255)]


class PullImageRequest(RequestModel):
    """An image to pull from its registry, or to build, as the table of images says."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "python:3.12-alpine"}]})

    name: ImageName = Field(description="As in `image` of sandboxes.")


class ImageOut(AnswerModel):
    """An image. Programs do not start in its `workdir`, nor through its `entrypoint`."""

    digest: str
    names: list[str]
    source: str
    size_bytes: int
    layers: int
    created_at: float
    env: dict[str, str]
    workdir: str
    user: str
    entrypoint: list[str]
    command: list[str]


class ImageList(AnswerModel):
    """The host image is always there, and not listed."""

    items: list[ImageOut]


class CollectedOut(AnswerModel):
    """What was removed: images by their digests, layers and blobs by number."""

    images: list[str]
    layers: int
    blobs: int
    freed_bytes: int
