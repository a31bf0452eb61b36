"""Application destinations: what a SEND to `/app/...` calls.

routes = DestinationRoutes()

@routes.message("/app/typing")
async def typing(message: AppMessage) -> None:
    await message.push("bob", message.json())
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Unpack

from msgspec import Struct
from pydantic_core import from_json

from app.delivery.delivery import Delivery
from app.delivery.log import PushOutcome
from app.disconnects import BAD_REQUEST, DisconnectReason
from app.hub.session import Session
from app.messages.destinations import APP_ACK, APP_PREFIX
from app.push.publisher import Publisher, PushOptions


class Rejected(Exception):
    """Raised by a handler that cannot take what a client sent. The session goes on.

    The client is told on `/user/queue/errors`. `detail` is one sentence about what was wrong and what was expected.
    A client that does not subscribe to that queue gets an ERROR with `title` and a close with `reason`, if it asked for
    a receipt or `must_be_told`.
    """

    def __init__(
        self,
        detail: str,
        *,
        reason: DisconnectReason = BAD_REQUEST,
        title: str = "the frame was rejected",
        must_be_told: bool = False,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason
        self.title = title
        self.must_be_told = must_be_told


class AppMessage(Struct, frozen=True):
    """What a client sent, and what a handler needs to answer it."""

    session: Session
    publisher: Publisher
    delivery: Delivery
    destination: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def user(self) -> str:
        return self.session.user

    async def push(self, receiver: str, data: Any, **options: Unpack[PushOptions]) -> PushOutcome:
        """Push as `Publisher.push` does. The client learns of an error unless the handler catches it.

        `publisher` also broadcasts and pushes to topics.
        """
        return await self.publisher.push(receiver, data, **options)

    def text(self) -> str:
        return text_of(self.body)

    def json(self) -> Any:
        return json_of(self.body)


def text_of(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Rejected("the body is not valid UTF-8") from None


def json_of(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Rejected(f"the body is not valid JSON: {error}") from None


Handler = Callable[[AppMessage], Awaitable[None] | None]


class DestinationRoutes:
    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def message(self, destination: str) -> Callable[[Handler], Handler]:
        """Register a handler, sync or async, for exactly this destination.

        A sync handler must not block. It runs for frames of one session in their order, and a RECEIPT is sent when it
        is done. Raises ValueError if the destination is taken or lies outside `/app/`.
        """
        if not destination.startswith(APP_PREFIX):
            raise ValueError(f"an application destination starts with {APP_PREFIX}, not {destination!r}")
        if destination in self._handlers:
            raise ValueError(f"{destination} has a handler already")

        def register(handler: Handler) -> Handler:
            self._handlers[destination] = handler
            return handler

        return register

    def handler(self, destination: str) -> Handler | None:
        return self._handlers.get(destination)

    def include(self, other: "DestinationRoutes") -> None:
        """Add all handlers of `other`. Raises ValueError if a destination is taken, as `/app/ack` always is."""
        for destination, handler in other._handlers.items():
            if destination == APP_ACK:
                raise ValueError(f"{destination} is where clients acknowledge messages, and takes no handler")
            self.message(destination)(handler)
