"""Message types: what they let through, and what the OpenAPI document says of them."""

from typing import Any

import pytest
from pydantic import BaseModel

from app.main import create_app
from app.messages.types import TypeRegistry
from tests.api.service import problem, service, settings


class Line(BaseModel):
    sku: str


class Order(BaseModel):
    number: int
    lines: list[Line] = []


def registry() -> TypeRegistry:
    types = TypeRegistry()
    types.register("ORDER", Order)
    return types


def message_schemas(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Of a message alone, and of one in a batch."""
    contents = [
        document["paths"][f"/vh-stomp-wsend/{route}"]["post"]["requestBody"]["content"]["application/json"]
        for route in ("push_msg", "push_batch")
    ]
    return [contents[0]["schema"], contents[1]["schema"]["items"]]


def test_registered_types_and_their_data_are_in_the_document() -> None:
    document = create_app(settings(), types=registry()).openapi()

    for schema in message_schemas(document):
        assert schema["properties"]["type"]["enum"] == ["STRING_MSG", "NOTIFY_VIEWED", "NOTIFY_DELETED", "ORDER"]
        data = schema["properties"]["data"]
        assert data["x-types"]["ORDER"] == "#/components/schemas/Order"
        assert [choice["$ref"] for choice in data["anyOf"][1:]] == [
            "#/components/schemas/NotifyIds",
            "#/components/schemas/Order",
        ]
    components = document["components"]["schemas"]
    assert components["Order"]["properties"]["lines"]["items"] == {"$ref": "#/components/schemas/Line"}
    assert components["Line"]["required"] == ["sku"]


def test_types_of_one_application_are_not_in_the_document_of_another() -> None:
    create_app(settings(), types=registry()).openapi()

    document = create_app(settings()).openapi()

    for schema in message_schemas(document):
        assert "ORDER" not in schema["properties"]["type"]["enum"]
    assert "Order" not in document["components"]["schemas"]


def test_where_any_type_is_taken_the_known_ones_are_examples() -> None:
    for schema in message_schemas(create_app(settings(strict_types=False)).openapi()):
        assert "enum" not in schema["properties"]["type"]
        assert "STRING_MSG" in schema["properties"]["type"]["examples"]


@pytest.mark.parametrize("persist", [False, True])
async def test_data_that_does_not_fit_its_type_is_refused_and_the_field_named(persist: bool) -> None:
    async with service(types=registry()) as running:
        bad = {"receiver": "test1", "type": "ORDER", "data": {"number": 1, "lines": [{}]}, "persist": persist}
        body = problem(await running.push_json("/push_msg", bad), 422, "invalid-message")
        assert body["errors"][0]["loc"] == ["data", "lines", 0, "sku"]

        good = bad | {"data": {"number": 1, "lines": [{"sku": "A-1"}]}}
        assert (await running.push_json("/push_msg", good)).status_code == 200
