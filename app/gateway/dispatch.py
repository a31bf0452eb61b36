"""What an event of a session means: one event, one call."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import assert_never

from app.delivery.delivery import Delivery
from app.errors import Forbidden, InvalidMessage, ServiceError
from app.gateway.acknowledgements import parse_ack_ids
from app.gateway.core_routes import publish_as_sent
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
    topic_problem,
)
from app.stomp.events import Ack, Commit, Nack, Noted, Send, Subscribe, Subscription, Unsubscribe
from app.tasks import TaskOwner

SessionEvent = Subscribe | Unsubscribe | Send | Ack | Nack | Commit | Noted


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """`allow_topic_send`: clients may SEND to `/topic/**`."""

    hub: Hub
    delivery: Delivery
    routes: DestinationRoutes
    tasks: TaskOwner
    allow_topic_send: bool

    def perform(self, session: Session, event: SessionEvent) -> Awaitable[None] | None:
        """Does it at once, or answers what has to be awaited.

        Raises (now or when awaited) ServiceError where the session has to end, Rejected where it goes on.
        """
        if type(event) is Send:  # as nearly always
            if event.destination != APP_ACK:
                return self._send(session, event)
            if not self.delivery.acknowledge_known(session, event.body.decode("utf-8", "replace")):
                self._acknowledge(session, event.body)
            return None
        match event:
            case Nack():
                self.delivery.refuse(session, event.message_id, cumulative=event.cumulative)
            case Ack():
                acknowledge = self.delivery.acknowledge_up_to if event.cumulative else self.delivery.acknowledge
                acknowledge(session, event.message_id)
            case Subscribe():
                return self._subscribe(session, event.subscription)
            case Unsubscribe():
                self._unsubscribe(session, event.subscription)
            case Commit():
                return self._commit(session, event)
            case Noted():
                pass
            case _:
                assert_never(event)
        return None

    def _subscribe(self, session: Session, subscription: Subscription) -> Awaitable[None] | None:
        """Done when what is pushed from now on will come, from whichever node."""
        destination = subscription.destination
        if destination not in (USER_MESSAGES, USER_ERRORS):
            if destination.startswith(USER_PREFIX):
                raise Forbidden(
                    f"{destination[:128]!r} is not open to subscribers; {USER_MESSAGES} and {USER_ERRORS} are"
                )
            if problem := topic_problem(destination):
                raise InvalidMessage(f"cannot subscribe to {destination[:128]!r}: {problem}")
        self.hub.subscribe(session, subscription)
        drains = destination == USER_MESSAGES and session.draining is None
        if drains:
            self.delivery.begin_drain(session)
        watching = self.delivery.watch(session, destination)
        if watching is not None:
            return self._subscribe_later(session, watching, drains)
        if drains:
            self._start_drain(session)
        return None

    async def _subscribe_later(self, session: Session, watching: Awaitable[None], drains: bool) -> None:
        """What came before the other nodes knew is in the inbox, what comes after is held back."""
        await watching
        if drains:
            self._start_drain(session)

    def _start_drain(self, session: Session) -> None:
        self.tasks.start(self.delivery.drain(session), f"drain to session {session.id}")

    def _unsubscribe(self, session: Session, subscription: Subscription | None) -> None:
        if subscription is None:
            raise Rejected("there is no subscription of that id")
        self.hub.unsubscribe(session, subscription)
        if not session.listens_to(USER_MESSAGES) and subscription.destination == USER_MESSAGES:
            self.delivery.leave(session)

    def _acknowledge(self, session: Session, body: bytes) -> None:
        for message_id in parse_ack_ids(body):
            self.delivery.acknowledge(session, message_id)

    def _send(self, session: Session, event: Send) -> Awaitable[None] | None:
        destination = event.destination
        message = AppMessage(session, self.delivery, destination, event.headers, event.body)
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
        return publish_as_sent(message, message.destination)

    async def _commit(self, session: Session, event: Commit) -> None:
        """All of it, in order; what is rejected does not keep the rest from being done, and is told at the end."""
        problems = []
        for part in event.events:
            try:
                pending = self.perform(session, part)
                if pending is not None:
                    await pending
            except Rejected as rejected:
                problems.append(rejected.detail)
        if problems:
            raise Rejected("; ".join(problems[:10]))


def _handle(handler: Handler, message: AppMessage) -> Awaitable[None] | None:
    """What a handler was refused by the service (a full inbox, say) is told to the client, and does not end him."""
    try:
        pending = handler(message)
    except ServiceError as error:
        raise Rejected(error.detail) from error
    return None if pending is None else _handled(pending)


async def _handled(pending: Awaitable[None]) -> None:
    try:
        await pending
    except ServiceError as error:
        raise Rejected(error.detail) from error
