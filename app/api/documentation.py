"""The OpenAPI of what the push routes read of a request without the help of FastAPI."""

from typing import Any

from app.api.dependencies import api_key_scheme, bearer_scheme
from app.api.idempotency import KEY_HEADER

Body = tuple[str, dict[str, Any], Any]
"""Media type, schema and example."""

_KEY = "the same key with the same request is answered as the first time and sends nothing; kept 24 h"
_IDEMPOTENCY_KEY = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "schema": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": _KEY, "title": KEY_HEADER},
    "description": _KEY,
}
_SECURITY: list[dict[str, list[str]]] = [{scheme.scheme_name: []} for scheme in (api_key_scheme, bearer_scheme)]


def path_parameter(name: str, description: str, example: str) -> dict[str, Any]:
    schema = {"type": "string", "description": description, "examples": [example], "title": name.title()}
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def documented(*bodies: Body, path: dict[str, Any] | None = None) -> dict[str, Any]:
    """For `openapi_extra=` of a push route: the bodies that it takes, and the parameter that is in its path."""
    content = {media_type: {"schema": schema, "example": example} for media_type, schema, example in bodies}
    return {
        "security": _SECURITY,
        "parameters": [_IDEMPOTENCY_KEY] if path is None else [path, _IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": content},
    }
