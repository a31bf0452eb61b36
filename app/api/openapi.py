"""The message types in the OpenAPI document. They are known only when the application is created."""

from typing import Any

from fastapi import FastAPI

from app.messages.types import TypeRegistry

MESSAGE_ROUTES = ("/vh-stomp-wsend/push_msg", "/vh-stomp-wsend/push_batch")
COMPONENT = "#/components/schemas/{model}"


def document_types(app: FastAPI, types: TypeRegistry) -> None:
    """Add the names of the message types, and a schema of `data` for each type that has a model."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _with_types(generate(), types)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this way to extend the document


def _with_types(document: dict[str, Any], types: TypeRegistry) -> dict[str, Any]:
    components = document["components"]["schemas"]
    references = {}
    for name, model in types.models.items():
        if model is not None:
            schema = model.model_json_schema(ref_template=COMPONENT)
            components.update(schema.pop("$defs", {}))
            components[model.__name__] = schema
            references[name] = COMPONENT.format(model=model.__name__)
    for route in MESSAGE_ROUTES:
        schema = document["paths"][route]["post"]["requestBody"]["content"]["application/json"]["schema"]
        properties = schema.get("items", schema)["properties"]
        properties["type"]["enum" if types.strict else "examples"] = list(types)
        properties["data"] |= {
            "anyOf": [
                {"description": "STRING_MSG: a text or any other JSON value"},
                *({"$ref": reference} for reference in dict.fromkeys(references.values())),
            ],
            "x-types": references,
        }
    return document
