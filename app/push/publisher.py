"""Pushing: what REST routes, application handlers and embedding applications call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

from app.delivery.delivery import Delivery
from app.delivery.log import PushOutcome
from app.delivery.observer import Accepted, Observer
from app.errors import InvalidMessage, ServiceError
from app.messages.destinations import TOPIC_PREFIX, USER_MESSAGES
from app.messages.ids import given_id_problem
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.messages.receivers import receiver_name
from app.messages.topics import topic_name
from app.messages.types import STRING_MSG, TypeRegistry
from app.push.batch import run_batch
from app.push.request import PushRequest, read_push
from app.timing.clock import Clock

DerivedId = Callable[[int], str | None]
"""Returns the `derived_id` of an item by its place in the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """How long a message waits for its receiver: by default, and at most."""

    default_ms: int
    max_ms: int


class PushOptions(TypedDict, total=False):
    """The options of `Publisher.push`."""

    type: str
    id: str | None
    ttl_ms: int | None
    persist: bool
    ack: bool


class History(Protocol):
    """The store of persisted messages."""

    async def save_and_publish(self, message: NotifyMessage) -> PushOutcome:
        """Push a message once it is stored. Raises IdConflict, InvalidMessage, and Unavailable if it is not stored."""


class Publisher:
    """Validates messages, stores persisted ones, and pushes them.

    A method that pushes one message raises InvalidMessage, IdConflict, InboxFull or Unavailable. Pushes of the same
    `id` and content send one message.
    """

    def __init__(
        self,
        *,
        delivery: Delivery,
        history: History,
        types: TypeRegistry,
        clock: Clock,
        lifetime: Lifetime,
        waits: bool,
        observer: Observer | None = None,
    ) -> None:
        """`waits`: a push waits for an answer from elsewhere, so several items of a batch should be under way."""
        self._delivery = delivery
        self._history = history
        self._types = types
        self._clock = clock
        self._lifetime = lifetime
        self._waits = waits
        self._observer = observer

    async def push(
        self,
        receiver: str,
        data: Any,
        *,
        type: str = STRING_MSG,
        id: str | None = None,
        ttl_ms: int | None = None,
        persist: bool = False,
        ack: bool = True,
    ) -> PushOutcome:
        """Push to all sessions of a user, until each has acknowledged or the message expires.

        `ack` False: send once to each session, or once to the next one. `persist`: store in the history first.
        """
        fields = {"receiver": receiver, "data": data, "type": type, "id": id, "ttl_ms": ttl_ms}
        return await self.publish(read_push(fields | {"persist": persist, "ack": ack}))

    async def broadcast(self, data: Any, *, type: str = STRING_MSG, id: str | None = None) -> PushOutcome:
        """Push to all sessions that are online now, at most once."""
        return await self.publish(read_push({"receiver": None, "data": data, "type": type, "id": id}))

    async def push_topic(
        self, topic: str, data: Any, *, id: str | None = None, derived_id: str | None = None
    ) -> PushOutcome:
        """Push to the present subscribers of `/topic/<topic>`, at most once. `derived_id`: see `publish`."""
        destination = TOPIC_PREFIX + topic_name(topic)
        message_id = derived_id if id is None else _checked(id)
        message = self._message(STRING_MSG, None, data, message_id)
        outcome = await self._delivery.broadcast(message, destination, given_id=message_id is not None)
        if self._observer is not None:
            _tell(self._observer, outcome, STRING_MSG, destination, persisted=False)
        return outcome

    async def publish(self, request: PushRequest, *, derived_id: str | None = None) -> PushOutcome:
        """Push a validated request.

        `derived_id` is the id of a request that has none: all attempts with one Idempotency-Key share it. If that is
        None, too, the message gets a new id.
        """
        message_id = derived_id if request.id is None else _checked(request.id)
        receiver = None if request.receiver is None else receiver_name(request.receiver)
        if receiver is None and request.persist:
            raise InvalidMessage("persist: a broadcast is not stored", errors=_at_persist)
        message = self._message(request.type, receiver, request.data, message_id)
        if receiver is None:
            outcome = await self._delivery.broadcast(message, given_id=message_id is not None)
        elif request.persist:
            outcome = await self._history.save_and_publish(message)
        else:
            expires_ms = message.created + self._ttl_ms(request.ttl_ms)
            encoder, message.data = MessageEncoder(message), None  # as `without_data`; no other code has it yet
            envelope = Envelope(message, encoder, expires_ms, request.ack)
            outcome = await self._delivery.push(envelope, given_id=message_id is not None)
        if self._observer is not None:
            _tell(self._observer, outcome, request.type, USER_MESSAGES, persisted=request.persist)
        return outcome

    async def publish_batch(
        self, items: Sequence[PushRequest | ServiceError], derived_id: DerivedId = lambda item: None
    ) -> Sequence[PushOutcome | ServiceError]:
        """Push the requests in their order. Return an outcome or error for each item; an error is returned as it is."""

        async def push_item(number: int) -> PushOutcome | ServiceError:
            request = items[number]
            if isinstance(request, ServiceError):
                return request
            try:
                return await self.publish(request, derived_id=derived_id(number))
            except ServiceError as error:
                return error

        return await run_batch(items, push_item, waits=self._waits)

    def _message(self, type: str, receiver: str | None, data: Any, message_id: str | None) -> NotifyMessage:
        self._types.check(type, data)
        return NotifyMessage(message_id or self._delivery.new_id(), type, receiver, data, False, self._clock.epoch_ms())

    def _ttl_ms(self, wanted: int | None) -> int:
        if wanted is None:
            return self._lifetime.default_ms
        if wanted > self._lifetime.max_ms:
            problem = f"ttl_ms is {wanted}, at most {self._lifetime.max_ms} is allowed"
            raise InvalidMessage(problem, errors=[{"loc": ["ttl_ms"], "msg": problem}])
        return wanted


def _tell(observer: Observer, outcome: PushOutcome, type: str, destination: str, *, persisted: bool) -> None:
    if not outcome.replayed:
        observer(Accepted(outcome.id, type, outcome.receiver, destination, persisted, outcome.status, outcome.sessions))


def _checked(message_id: str) -> str:
    if problem := given_id_problem(message_id):
        raise InvalidMessage(problem, errors=[{"loc": ["id"], "msg": problem}])
    return message_id


_at_persist: tuple[dict[str, object], ...] = ({"loc": ["persist"], "msg": "must be false for a broadcast"},)
