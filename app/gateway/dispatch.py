"""Maps each event of a session to one call of the hub, the delivery or a handler."""

from collections.abc import Awaitable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from msgspec.structs import replace

from app.delivery.delivery import Delivery
from app.errors import Forbidden, InvalidMessage, ServiceError
from app.gateway.acknowledgements import parse_ack_ids
from app.gateway.core_routes import publish_as_sent
from app.gateway.failures import rejected_by_service
from app.gateway.routing import AppMessage, DestinationRoutes, Handler, Rejected
from app.hub.hub import Hub
from app.hub.session import Session
from app.messages.destinations import (
    APP_ACK,
    APP_PREFIX,
    TOPIC_PREFIX,
    USER_ERRORS,
    USER_MESSAGES,
    USER_PREFIX,
)
from app.messages.names import canonical
from app.messages.topics import topic_problem
from app.push.publisher import Publisher
from app.stomp.events import Ack, Commit, Nack, ReceiptOnly, Send, Subscribe, Subscription, Unsubscribe
from app.timing.tasks import TaskOwner

SessionEvent = Subscribe | Unsubscribe | Send | Ack | Nack | Commit | ReceiptOnly


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """Handles the frames of sessions. `allow_topic_send`: clients may SEND to `/topic/**`."""

    hub: Hub
    delivery: Delivery
    publisher: Publisher
    routes: DestinationRoutes
    tasks: TaskOwner
    allow_topic_send: bool

    def perform(self, session: Session, event: SessionEvent) -> Awaitable["Confirmation | None"] | None:
        """Handle an event at once, or return an awaitable that completes the handling.

        The frames behind the event wait for the awaitable. They do not wait for a Confirmation, whether it is returned
        or is the awaitable's result. Raises, now or when awaited, ServiceError if the session must end and Rejected if
        it goes on.
        """
        if type(event) is Send:  # as nearly always
            if event.destination != APP_ACK:
                return self._send(session, event)
            if not self.delivery.acknowledgements.acknowledge_known(session, event.body.decode("utf-8", "replace")):
                self._acknowledge(session, event.body)
            return None if event.receipt is None else self._confirmation(session, _acknowledged_by(event))
        match event:
            case Nack():
                self.delivery.acknowledgements.nack(session, event.message_id, cumulative=event.cumulative)
            case Ack():
                acks = self.delivery.acknowledgements
                acknowledge = acks.acknowledge_up_to if event.cumulative else acks.acknowledge
                acknowledge(session, event.message_id)
                return None if event.receipt is None else self._confirmation(session, _acknowledged_by(event))
            case Subscribe():
                return self._subscribe(session, event)
            case Unsubscribe():
                self._unsubscribe(session, event.subscription)
            case Commit():
                return self._commit(session, event)
            case ReceiptOnly():
                pass
            case _:
                assert_never(event)
        return None

    def _confirmation(self, session: Session, ids: Sequence[str]) -> "Confirmation | None":
        """Return what the RECEIPT of an acknowledgement waits for: it promises that the message is not sent again."""
        pending = [
            confirmation
            for message_id in ids
            if (confirmation := self.delivery.acknowledgements.confirmation(session, message_id)) is not None
        ]
        return Confirmation(pending) if pending else None

    def _subscribe(self, session: Session, event: Subscribe) -> Awaitable[None] | None:
        """Subscribe. The result completes when every later push, on any node, reaches the session; None if at once."""
        subscription = event.subscription
        destination = subscription.destination
        if destination not in (USER_MESSAGES, USER_ERRORS):
            if destination.startswith(USER_PREFIX):
                raise Forbidden(
                    f"{destination[:128]!r} is not open to subscribers; {USER_MESSAGES} and {USER_ERRORS} are"
                )
            if problem := topic_problem(destination):
                raise InvalidMessage(f"cannot subscribe to {destination[:128]!r}: {problem}")
            destination = canonical(destination)
        is_first = not session.listens_to(USER_MESSAGES)
        self.hub.subscribe(session, subscription, destination)
        replays = destination == USER_MESSAGES and is_first
        if replays:
            self.delivery.begin_replay(session)
        watching = self.delivery.watch(session, destination)
        if watching is None:
            if not replays or (reading := self.delivery.replay(session)) is None:
                return None
            opening = reading
        elif replays:
            opening = self._replay_later(session, watching)
        else:
            return watching
        if event.receipt is not None:
            return opening
        self.tasks.start(_completed(opening), f"replay to session {session.id}")  # the frames behind do not wait
        return None

    async def _replay_later(self, session: Session, watching: Awaitable[None]) -> None:
        """Replay once other nodes know the subscription. Earlier pushes are in the mailbox; later ones are held."""
        await watching
        if (reading := self.delivery.replay(session)) is not None:
            await reading

    def _unsubscribe(self, session: Session, subscription: Subscription | None) -> None:
        if subscription is None:
            raise Rejected("there is no subscription of that id")
        self.hub.unsubscribe(session, subscription, canonical(subscription.destination))
        if not session.listens_to(USER_MESSAGES) and subscription.destination == USER_MESSAGES:
            self.delivery.leave(session)

    def _acknowledge(self, session: Session, body: bytes) -> None:
        for message_id in parse_ack_ids(body):
            self.delivery.acknowledgements.acknowledge(session, message_id)

    def _send(self, session: Session, event: Send) -> Awaitable[None] | None:
        destination = event.destination
        message = AppMessage(session, self.publisher, self.delivery, destination, event.headers, event.body)
        handler = self.routes.handler(destination)
        if handler is not None:
            return _handle(handler, message)
        if destination.startswith(APP_PREFIX):
            raise Rejected(f"nothing listens at {destination[:128]!r}")
        if destination.startswith(TOPIC_PREFIX):
            return self._send_to_topic(message)
        if destination.startswith(USER_PREFIX):
            raise Forbidden(f"clients may not send to {destination[:128]!r}")
        raise InvalidMessage(f"cannot send to {destination[:128]!r}: {APP_PREFIX}** or {TOPIC_PREFIX}** was expected")

    def _send_to_topic(self, message: AppMessage) -> Awaitable[None]:
        if not self.allow_topic_send:
            raise Forbidden("clients may not send to topics here")
        if problem := topic_problem(message.destination):
            raise InvalidMessage(f"cannot send to {message.destination[:128]!r}: {problem}")
        return _handled(publish_as_sent(message, message.destination))

    async def _commit(self, session: Session, event: Commit) -> "Confirmation | None":
        """Handle every frame of a transaction in order. Rejections do not stop the others and are told at the end."""
        rejections: list[Rejected] = []
        acknowledged: list[str] = []
        for part in event.events:
            try:
                pending = self.perform(session, replace(part, receipt=None))  # that was answered when it came
                if pending is not None:
                    await pending
                acknowledged += _acknowledged_by(part)
            except Rejected as rejected:
                rejections.append(rejected)
        if rejections:
            raise _sum_of(rejections)
        return None if event.receipt is None else self._confirmation(session, acknowledged)


def _acknowledged_by(event: SessionEvent) -> Sequence[str]:
    if isinstance(event, Ack):
        return (event.message_id,)
    return parse_ack_ids(event.body) if isinstance(event, Send) and event.destination == APP_ACK else ()


class Confirmation:
    """An awaitable that completes when acknowledgements are written. Later frames do not wait for it."""

    def __init__(self, pending: Sequence[Awaitable[None]]) -> None:
        self._pending = pending

    def __await__(self) -> Generator[Any, None, None]:
        return _all(self._pending).__await__()


async def _all(pending: Sequence[Awaitable[None]]) -> None:
    for one in pending:
        await one


async def _completed(pending: Awaitable[None]) -> None:
    await pending


def _handle(handler: Handler, message: AppMessage) -> Awaitable[None] | None:
    """Call a handler. A ServiceError of its pushes is told to the client, and the session goes on."""
    try:
        pending = handler(message)
    except ServiceError as error:
        raise rejected_by_service(error) from error
    return None if pending is None else _handled(pending)


async def _handled(pending: Awaitable[None]) -> None:
    try:
        await pending
    except ServiceError as error:
        raise rejected_by_service(error) from error


def _sum_of(rejections: Sequence[Rejected]) -> Rejected:
    """Combine the rejections of a transaction. If one reason is temporary, the combined reason is."""
    worst = next((rejected for rejected in rejections if rejected.reason.may_reconnect), rejections[0])
    return Rejected(
        "; ".join(rejected.detail for rejected in rejections[:10]),
        reason=worst.reason,
        title=worst.title,
        must_be_told=any(rejected.must_be_told for rejected in rejections),
    )
