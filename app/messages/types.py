"""The message types and what their data must look like."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from app.errors import InvalidMessage

STRING_MSG = "STRING_MSG"
NOTIFY_VIEWED = "NOTIFY_VIEWED"
NOTIFY_DELETED = "NOTIFY_DELETED"


class NotifyIds(BaseModel):
    """The messages that another device of the user has read or deleted, and how many unread ones are left."""

    model_config = ConfigDict(extra="forbid")

    ids: list[str]
    unread: int | None = None


class TypeRegistry:
    """`STRING_MSG` carries a text or any other JSON value; own types are registered with a pydantic model."""

    def __init__(self, *, strict: bool = True) -> None:
        """Not `strict`: types that are not registered may carry any JSON value."""
        self.strict = strict
        self.models: dict[str, type[BaseModel] | None] = {STRING_MSG: None}
        """The model of each type; None takes any JSON value."""
        self._adapters: dict[str, TypeAdapter[Any] | None] = {STRING_MSG: None}
        self.register(NOTIFY_VIEWED, NotifyIds)
        self.register(NOTIFY_DELETED, NotifyIds)

    def register(self, name: str, model: type[BaseModel]) -> None:
        """Raises ValueError if the name is taken or no plain word."""
        if not name.isidentifier() or len(name) > 64:
            raise ValueError(f"the message type {name!r} must be an identifier of at most 64 characters")
        if name in self._adapters:
            raise ValueError(f"the message type {name!r} is registered already")
        self.models[name] = model
        self._adapters[name] = TypeAdapter(model)

    def __iter__(self) -> Iterator[str]:
        return iter(self._adapters)

    def check(self, name: str, data: Any) -> None:
        """Raises InvalidMessage that names the field that does not fit."""
        if name not in self._adapters:
            if self.strict or not name.isidentifier() or len(name) > 64:
                known = ", ".join(self._adapters)
                raise InvalidMessage(f"the type {name[:64]!r} is not known; known types are {known}", errors=_at_type)
            return
        adapter = self._adapters[name]
        if adapter is None:
            return
        try:
            adapter.validate_python(data)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False, include_context=False)
            errors: list[dict[str, object]] = [{"loc": ["data", *item["loc"]], "msg": item["msg"]} for item in details]
            where = ".".join(("data", *map(str, details[0]["loc"])))
            raise InvalidMessage(f"{where} does not fit the type {name}: {details[0]['msg']}", errors=errors) from None


_at_type: tuple[dict[str, object], ...] = ({"loc": ["type"], "msg": "unknown message type"},)
