"""The dialect's own OpenAPI document: what it takes, and the one shape of its errors."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from atoll.dialects.agentkernel import schemas

_BODIES = (
    schemas.RunIn, schemas.BatchIn, schemas.ExecIn, schemas.CreateIn, schemas.PatchIn,
    schemas.ExtendIn, schemas.ForkIn, schemas.WriteIn, schemas.WriteManyIn, schemas.TakeIn,
    schemas.RestoreIn,
)  # fmt: skip
_REFS = "#/components/schemas/"
_ERROR = {
    "type": "object",
    "required": ["success", "error"],
    "properties": {"success": {"const": False}, "error": {"type": "string"}},
}


def takes(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """What a route's description says of its body."""
    content = {"application/json": {"schema": {"$ref": f"{_REFS}{model.__name__}"}}}
    return {"requestBody": {"required": required, "content": content}}


class Application(FastAPI):
    """One whose document has our bodies and errors instead of the framework's."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            found = super().openapi()
            _, bodies = models_json_schema(
                [(each, "validation") for each in _BODIES], ref_template=f"{_REFS}{{model}}"
            )
            found["components"] = {"schemas": {**bodies["$defs"], "Error": _ERROR}}
            content = {"application/json": {"schema": {"$ref": f"{_REFS}Error"}}}
            refused = {"description": "Refused, with the reason.", "content": content}
            for operations in found["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
                    operation["responses"]["default"] = refused
        return self.openapi_schema or {}
