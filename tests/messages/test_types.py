from typing import Any

import pytest
from pydantic import BaseModel

from app.errors import InvalidMessage
from app.messages.types import NOTIFY_DELETED, NOTIFY_VIEWED, STRING_MSG, TypeRegistry


class Order(BaseModel):
    number: int
    lines: list[str] = []


@pytest.fixture
def types() -> TypeRegistry:
    registry = TypeRegistry()
    registry.register("ORDER", Order)
    return registry


@pytest.mark.parametrize("data", ["text", "", None, 1, 1.5, True, [], {"a": [None]}])
def test_a_string_message_carries_any_json_value(types: TypeRegistry, data: Any) -> None:
    types.check(STRING_MSG, data)


@pytest.mark.parametrize("name", [NOTIFY_VIEWED, NOTIFY_DELETED])
def test_what_another_device_did_is_a_list_of_ids(types: TypeRegistry, name: str) -> None:
    types.check(name, {"ids": ["a", "b"]})
    for data in ({"ids": [1]}, {}, {"ids": [], "more": 1}, "a", None):
        with pytest.raises(InvalidMessage):
            types.check(name, data)


def test_data_of_an_own_type_must_fit_its_model_and_the_error_names_the_field(types: TypeRegistry) -> None:
    types.check("ORDER", {"number": 1})
    with pytest.raises(InvalidMessage) as caught:
        types.check("ORDER", {"number": 1, "lines": ["a", 2]})
    assert caught.value.detail == "data.lines.1 does not fit the type ORDER: Input should be a valid string"
    assert caught.value.errors == [{"loc": ["data", "lines", 1], "msg": "Input should be a valid string"}]


def test_every_field_that_does_not_fit_is_listed(types: TypeRegistry) -> None:
    with pytest.raises(InvalidMessage) as caught:
        types.check("ORDER", {"lines": 1})
    assert [error["loc"] for error in caught.value.errors] == [["data", "number"], ["data", "lines"]]


def test_data_that_is_no_object_at_all_is_wrong_at_data(types: TypeRegistry) -> None:
    with pytest.raises(InvalidMessage) as caught:
        types.check("ORDER", "text")
    assert caught.value.detail.startswith("data does not fit the type ORDER: ")
    assert caught.value.errors[0]["loc"] == ["data"]


def test_an_error_does_not_quote_the_data(types: TypeRegistry) -> None:
    with pytest.raises(InvalidMessage) as caught:
        types.check("ORDER", {"number": "hunter2"})
    assert "hunter2" not in f"{caught.value.detail} {caught.value.errors}"


def test_a_strict_registry_refuses_types_that_it_does_not_know_and_names_those_it_does(types: TypeRegistry) -> None:
    with pytest.raises(InvalidMessage) as caught:
        types.check("INVOICE" * 100, 1)
    known = "STRING_MSG, NOTIFY_VIEWED, NOTIFY_DELETED, ORDER"
    assert caught.value.detail == f"the type {('INVOICE' * 100)[:64]!r} is not known; known types are {known}"
    assert list(caught.value.errors) == [{"loc": ["type"], "msg": "unknown message type"}]
    with pytest.raises(InvalidMessage):
        types.check("INVOICE", 1)


def test_a_registry_that_is_not_strict_takes_any_plain_name_with_any_data() -> None:
    types = TypeRegistry(strict=False)
    types.check("INVOICE", {"any": "thing"})
    types.check("x" * 64, None)
    for name in ("", "two words", "1st", "a-b", "x" * 65):
        with pytest.raises(InvalidMessage):
            types.check(name, None)


def test_a_registry_that_is_not_strict_still_checks_the_types_it_knows() -> None:
    with pytest.raises(InvalidMessage):
        TypeRegistry(strict=False).check(NOTIFY_VIEWED, "text")


def test_a_registry_lists_its_types(types: TypeRegistry) -> None:
    assert list(types) == [STRING_MSG, NOTIFY_VIEWED, NOTIFY_DELETED, "ORDER"]


@pytest.mark.parametrize("name", ["", "two words", "1st", "a-b", "x" * 65])
def test_a_type_must_have_a_plain_name(types: TypeRegistry, name: str) -> None:
    with pytest.raises(ValueError, match="must be an identifier"):
        types.register(name, Order)


@pytest.mark.parametrize("name", [STRING_MSG, NOTIFY_VIEWED, "ORDER"])
def test_a_type_is_registered_once(types: TypeRegistry, name: str) -> None:
    with pytest.raises(ValueError, match="registered already"):
        types.register(name, Order)


def test_registries_do_not_share_types(types: TypeRegistry) -> None:
    assert "ORDER" not in list(TypeRegistry())
