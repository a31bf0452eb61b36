"""The OpenAPI description of what push routes read themselves instead of through FastAPI."""

from typing import Any

from app.api.dependencies import api_key_scheme, bearer_scheme
from app.api.idempotency import KEY_HEADER

Body = tuple[str, dict[str, Any], Any]
"""Media type, schema and example."""

_KEY = "a repeated request with the same key sends nothing and returns the first result; kept for IDEMPOTENCY_TTL_MS"
_IDEMPOTENCY_KEY = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "schema": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": _KEY, "title": KEY_HEADER},
    "description": _KEY,
}
_SECURITY: list[dict[str, list[str]]] = [{scheme.scheme_name: []} for scheme in (api_key_scheme, bearer_scheme)]


def path_parameter(name: str, description: str, example: str) -> dict[str, Any]:
    """Return the OpenAPI description of a parameter in the path."""
    schema = {"type": "string", "description": description, "examples": [example], "title": name.title()}
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def documented(*bodies: Body, path: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the value of `openapi_extra=` for a push route with these bodies and this path parameter."""
    content = {media_type: {"schema": schema, "example": example} for media_type, schema, example in bodies}
    return {
        "security": _SECURITY,
        "parameters": [_IDEMPOTENCY_KEY] if path is None else [path, _IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": content},
    }
