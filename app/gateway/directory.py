"""Look-ups over all nodes: online sessions and the status of pushes. Ends a session on whichever node holds it."""

from collections.abc import Iterable, Sequence
from typing import Any

from app.delivery.ack_manager import AckManager
from app.delivery.delivery import Delivery
from app.delivery.log import Trace
from app.delivery.mailbox import Mailbox
from app.delivery.status import shared_status
from app.errors import Unavailable
from app.gateway.control import Control
from app.gateway.gateway import Gateway
from app.hub.hub import Hub
from app.hub.session import Session
from app.messages.ids import message_id_problem
from app.timing.clock import Clock

SESSIONS, END_SESSION, STATUS = "sessions", "end-session", "status"
# Nodes see different ends of a push; this is which of them tells most.
STATUS_ORDER = ("stored", "expired", "sent", "delivered")
DELIVERED = "delivered"

Item = dict[str, Any]


class Directory:
    """Looks up what this node knows and asks other nodes for the rest. Results are JSON values."""

    def __init__(
        self,
        *,
        node: str,
        hub: Hub,
        acks: AckManager,
        delivery: Delivery,
        mailbox: Mailbox,
        gateway: Gateway,
        control: Control,
        clock: Clock,
    ) -> None:
        self._node = node
        self._hub = hub
        self._acks = acks
        self._delivery = delivery
        self._mailbox = mailbox
        self._gateway = gateway
        self._control = control
        self._clock = clock
        control.on(SESSIONS, lambda question: self._sessions_here(question["user"]))
        control.on(END_SESSION, lambda question: self._end_here(question["session"]))
        control.on(STATUS, lambda question: self._status_here(question["id"]))

    async def sessions(self, user: str | None = None) -> tuple[Sequence[Item], Sequence[str]]:
        """Return the sessions of one user or of all, oldest first, and the nodes that did not reply."""
        answers = await self._control.ask(SESSIONS, {"user": user})
        items = [*self._sessions_here(user), *answers.items]
        return sorted(items, key=lambda item: int(item["connected_at"])), answers.unanswered

    async def end_session(self, session_id: str) -> bool:
        """End a session with a close code that tells its client not to reconnect.

        Return False if no node has it. Raises Unavailable if a node that may have it did not reply.
        """
        if self._end_here(session_id):
            return True
        answers = await self._control.ask(END_SESSION, {"session": session_id}, enough=1)
        if not answers.items and answers.unanswered:
            raise Unavailable(f"nodes that may have the session do not answer: {', '.join(answers.unanswered)}")
        return bool(answers.items)

    async def status(self, message_id: str) -> tuple[Item | None, Sequence[str]]:
        """Return the status of a push, None if it is not known, and the nodes that did not reply.

        Acknowledgements to nodes that have ended come from the mailbox.
        """
        answers = await self._control.ask(STATUS, {"id": message_id})
        known = [*self._status_here(message_id), *answers.items]
        item = _merged(known) if known else await self._described(message_id)
        return (item and await self._with_mailbox(item)), answers.unanswered

    async def _described(self, message_id: str) -> Item | None:
        """Return the status of a message that only the mailbox still knows."""
        if message_id_problem(message_id) is not None:
            return None
        try:
            found = await self._mailbox.find(message_id)
        except Unavailable:
            return None
        return found and {
            "id": message_id,
            "receiver": found.receiver,
            "type": found.type,
            "created": found.created_ms,
            "status": "sent" if found.is_heard else "stored",
            "acknowledged": found.acknowledged,
            "persisted": found.persisted,
            "expires_ms": found.expires_ms,
            "sessions": [],
        }

    async def _with_mailbox(self, item: Item) -> Item:
        """Add what the mailbox knows, and drop the fields that are internal to the nodes."""
        acknowledged, expires_ms = item.pop("acknowledged", False), item.pop("expires_ms", 0)
        item.setdefault("persisted", False)
        is_open = item["status"] != DELIVERED if acknowledged else item["status"] == "stored" and expires_ms
        if is_open and not item["persisted"]:
            status = await shared_status(
                self._mailbox,
                item["receiver"],
                item["id"],
                item["status"],
                created_ms=item["created"],
                expires_ms=expires_ms,
                now_ms=self._clock.epoch_ms(),
            )
            # What is not to be acknowledged leaves the mailbox when it is sent.
            item["status"] = "sent" if status == DELIVERED and not acknowledged else status
        return item

    async def is_acknowledged(self, user: str, message_id: str) -> bool:
        """Return whether the mailbox has an acknowledgement of the message. The database may get it later."""
        try:
            (acknowledged,) = await self._mailbox.acknowledged(user, [message_id])
        except Unavailable:
            return False
        return acknowledged

    # What this node says of itself

    def _sessions_here(self, user: str | None) -> Iterable[Item]:
        return [self._describe(session) for session in (self._hub if user is None else self._hub.sessions_of(user))]

    def _describe(self, session: Session) -> Item:
        return {
            "session": session.id,
            "user": session.user,
            "client_id": session.client_id,
            "node": self._node,
            "transport": session.transport.name,
            "version": session.version,
            "remote": session.transport.remote,
            "connected_at": session.connected_ms,
            "subscriptions": sorted(session.subscribers),
            "unacknowledged": self._acks.open_records_of(session),
        }

    def _end_here(self, session_id: str) -> Sequence[bool]:
        return [True] if self._gateway.kick(session_id) else []

    def _status_here(self, message_id: str) -> Sequence[Item]:
        trace = self._delivery.trace(message_id)
        return [] if trace is None else [_status_of(trace, self._clock.epoch_ms())]


def _status_of(trace: Trace, now_ms: int) -> Item:
    return {
        "id": trace.id,
        "receiver": trace.receiver,
        "type": trace.type,
        "created": trace.created_ms,
        "status": trace.status(now_ms),
        "acknowledged": trace.acknowledged,
        "persisted": trace.persisted,
        "expires_ms": trace.expires_ms,
        "sessions": [
            {
                "session": record.session_id,
                "sent": record.sent_ms,
                "attempts": record.retries + 1,
                "acked_at": record.acked_ms,
            }
            for record in trace.records.values()
        ],
    }


def _merged(known: Sequence[Item]) -> Item:
    status = max((item["status"] for item in known), key=STATUS_ORDER.index)
    return known[0] | {"status": status, "sessions": [session for item in known for session in item["sessions"]]}
