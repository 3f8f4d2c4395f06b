"""How routes are described in OpenAPI, where they read and write JSON by themselves."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from atoll.http.errors import MEDIA_TYPE
from atoll.http.schemas import (
    catalog,
    execution,
    files,
    images,
    keys,
    problem,
    process,
    result,
    sandbox,
)
from atoll.http.schemas.problem import ProblemOut
from atoll.http.schemas.words import AnswerModel
from atoll.http.session import COOKIE

Json = dict[str, Any]
_SCHEMAS = (catalog, execution, files, images, keys, problem, process, result, sandbox)

_REASONS = {
    400: "Not proper HTTP.",
    401: "No key, or not a known one.",
    403: "Not allowed.",
    404: "Not there, or not yours.",
    406: "No such representation.",
    408: "The body came too slowly.",
    409: "Its state forbids this, or the name is taken.",
    410: "It has ended; its post-mortem says why.",
    412: "It has changed meanwhile.",
    413: "Too large.",
    415: "No such media type here.",
    416: "The range is outside of the file.",
    422: "A field is wrong, or nothing here can do that.",
    424: "The host lacks something; the detail says what.",
    429: "Full at the moment.",
    431: "Too many or too large headers.",
    500: "The server or the sandbox failed.",
}
ALWAYS = (400, 401, 403, 422, 431, 500)
BODY = (408, 413, 415)
RUN = (413, 424, 429)
SANDBOX = (404, 409, 410, 424, 429)


def op(  # noqa: PLR0913 - a description has many parts
    operation: str,
    *,
    takes: type[BaseModel] | None = None,
    optional: bool = False,
    gives: type[BaseModel] | None = None,
    status: int = 200,
    fails: Iterable[int] = (),
    body: Json | None = None,
    answers: Mapping[int, Json] | None = None,
    parameters: Sequence[Json] = (),
) -> Json:
    """Keyword arguments for a route. `body` and `answers` are for what is not JSON."""
    extra: Json = {}
    if takes is not None:
        content = {"application/json": {"schema": ref(takes)}}
        body = {"required": not optional, "content": content}
    if body is not None:
        extra["requestBody"] = body
    if parameters:
        extra["parameters"] = list(parameters)
    good: Json = {"description": "It is done."}
    if gives is not None:
        good["content"] = {"application/json": {"schema": ref(gives)}}
    responses: dict[int | str, Json] = dict(answers.items()) if answers else {status: good}
    for number in sorted({*ALWAYS, *fails, *(BODY if body is not None else ())}):
        responses[number] = {
            "description": _REASONS[number],
            "content": {MEDIA_TYPE: {"schema": ref(ProblemOut)}},
        }
    return {
        "operation_id": operation,
        "status_code": status,
        "responses": responses,
        "response_model": None,
        "openapi_extra": extra,
    }


def ref(model: type[BaseModel]) -> Json:
    """A reference to a model's schema."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def streaming(*events: str) -> dict[int, Json]:
    """The answer of a route that streams events of these names."""
    text = {"type": "string"}
    schema = {
        "type": "object",
        "description": f"One event of the stream. Events: {', '.join(events)}.",
        "properties": {"id": text, "event": text, "data": text},
    }
    return {
        200: {"description": "The stream.", "content": {"text/event-stream": {"schema": schema}}}
    }


def _models(document: Json) -> Iterator[type[BaseModel]]:
    """The models that the document refers to by name."""
    wanted = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    for module in _SCHEMAS:
        for name, value in vars(module).items():
            if name in wanted and value.__module__ == module.__name__:
                yield value


def describe(app: FastAPI) -> Json:
    """The OpenAPI document, with the schemas of the bodies that routes read by themselves."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    pairs: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (m, "serialization" if issubclass(m, AnswerModel) else "validation")
        for m in _models(document)
    ]
    _, definitions = models_json_schema(pairs, ref_template="#/components/schemas/{model}")
    components = document.setdefault("components", {})
    schemas = {**components.get("schemas", {}), **definitions["$defs"]}
    components["schemas"] = dict(sorted(schemas.items()))
    components["securitySchemes"] = {
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    document["security"] = [{}, {"apiKey": []}, {"bearer": []}, {"session": []}]
    return document
