"""Sends messages to sessions, and resends them until each session has acknowledged or the message expires."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from msgspec import Struct

from app.delivery.ledger import Ledger
from app.delivery.log import Record, Trace
from app.delivery.observer import Acknowledged, Expired, Observer, Resent, Sent
from app.delivery.retry import Retry, RetryPolicy, plan_retry
from app.disconnects import SLOW_CONSUMER
from app.hub.hub import Hub
from app.hub.publication import Publication
from app.hub.session import Session
from app.messages.destinations import USER_MESSAGES
from app.messages.message import Envelope
from app.timing.clock import Clock

SWEEP_SLICE = 500  # records that one sweep handles before the loop gets a turn

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Sweep:
    """The counts of one sweep: open records, resent, expired, and dropped because the session has gone."""

    total: int = 0
    retried: int = 0
    expired: int = 0
    not_online: int = 0


class Sending(Struct, frozen=True):
    """One attempt to send a message: everything that is the same for all sessions.

    `envelope` None: the message is not acknowledged.
    """

    trace: Trace
    envelope: Envelope | None
    publication: Publication
    sent_ms: int
    due_s: float
    expires_s: float


class AckManager:
    """The only writer of the ledger. `log_events`: write a log line for each enqueue, acknowledgement and resend."""

    def __init__(
        self,
        *,
        hub: Hub,
        ledger: Ledger,
        policy: RetryPolicy,
        clock: Clock,
        log_events: bool,
        max_open_per_session: int = 1_000,
        observer: Observer | None = None,
    ) -> None:
        self._hub = hub
        self._ledger = ledger
        self._policy = policy
        self._clock = clock
        self._log_events = log_events
        self._max_open = max_open_per_session
        self._observer = observer

    @property
    def open_records(self) -> int:
        return len(self._ledger)

    def open_records_of(self, session: Session) -> int:
        return self._ledger.count(session.id)

    # Sending

    def prepare(self, envelope: Envelope, trace: Trace) -> Sending:
        """Begin the next attempt of a message, for `send`."""
        trace.attempts += 1
        now_ms, now_s = self._clock.epoch_ms(), self._clock.monotonic()
        expires_s = now_s + (envelope.expires_ms - now_ms) / 1000
        return Sending(
            trace,
            envelope if envelope.acknowledged else None,
            publication_of(envelope, trace.attempts, now_ms),
            now_ms,
            min(now_s + self._policy.wait_s, expires_s),
            expires_s,
        )

    def send(self, session: Session, sending: Sending) -> None:
        """Send to one listening session, unless it has an open record of the message.

        A session that leaves too many messages unacknowledged ends with SLOW_CONSUMER. Unacknowledged messages stay in
        the inbox.
        """
        trace, envelope = sending.trace, sending.envelope
        record = Record(trace, session.id, envelope, trace.attempts, sending.sent_ms, sending.due_s, sending.expires_s)
        if envelope is not None:
            if not self._ledger.open(record, at_most=self._max_open):
                if not self.is_open(session, trace.id):
                    session.end(SLOW_CONSUMER)
                return
            if self._log_events:
                self._log_event(
                    "[%s] 消息入队, msgId %s, sessionId %s, receiver %s", trace.id, session.id, session.user
                )
        trace.add(record)
        session.publish(sending.publication)
        if self._observer is not None:
            self._observer(Sent(trace.id, trace.type, session.user, session.id, trace.attempts))

    def is_open(self, session: Session, message_id: str) -> bool:
        return self._ledger.get(session.id, message_id) is not None

    # Answers of clients

    def acknowledge(self, session: Session, message_id: str) -> bool:
        """Close the record of a message sent to this session. Return False if none is open."""
        record = self._ledger.get(session.id, message_id)
        if record is None:
            return False
        self._ledger.close(record)
        record.acked_ms = self._clock.epoch_ms()
        if record.trace.acked_ms is None:
            record.trace.acked_ms = record.acked_ms
        if self._observer is not None:
            event = Acknowledged(
                message_id, record.trace.type, session.user, session.id, record.sent_ms, record.acked_ms
            )
            self._observer(event)
        if self._log_events:
            self._log_event(
                "[%s] 确认成功, msgId %s, sessionId %s, retryCount %d", message_id, session.id, record.retries
            )
        return True

    def up_to(self, session: Session, message_id: str) -> Sequence[str]:
        """Return this message and the open ones sent to the session before it, as a cumulative ACK covers them.

        1.2, "ACK": "acknowledges all messages received on the subscription up to and including" this one. A message
        that is not open covers itself alone.
        """
        if not self.is_open(session, message_id):
            return (message_id,)
        earlier = takewhile(lambda record: record.message_id != message_id, self._ledger.records(session.id))
        return (*(record.message_id for record in earlier), message_id)

    def nack(self, session: Session, message_id: str) -> None:
        """Resend the message after one retry interval."""
        record = self._ledger.get(session.id, message_id)
        if record is not None:
            due_s = self._clock.monotonic() + self._policy.interval_s
            self._ledger.reschedule(record, min(due_s, record.expires_s))

    def withdraw(self, session: Session, message_id: str) -> None:
        """Close the record of a message that the user has seen or deleted on another device."""
        record = self._ledger.get(session.id, message_id)
        if record is not None:
            self._ledger.close(record)

    def release(self, session: Session) -> None:
        """Close all records of a session that ends or unsubscribes. Its messages stay in the inbox."""
        self._ledger.close_session(session.id)

    # The retry job

    async def sweep(self) -> Sweep:
        """Resend or expire the records that are due. Other records are not touched."""
        done = Sweep(total=len(self._ledger))
        due = self._ledger.pop_due(self._clock.monotonic())
        for count, (record, due_s) in enumerate([(record, record.due_s) for record in due], start=1):
            # While the sweep gave way to the loop the record may have been acknowledged or put off.
            if record.envelope is not None and record.due_s == due_s:
                self._retry_safely(record, record.envelope, done)
            if count % SWEEP_SLICE == 0:
                await asyncio.sleep(0)
        if due:
            logger.info(
                "[%s] 定时处理完成, total %d, retried %d, expired %d, not online %d",
                self._ledger.label,
                done.total,
                done.retried,
                done.expired,
                done.not_online,
            )
        return done

    def _retry_safely(self, record: Record, envelope: Envelope, done: Sweep) -> None:
        try:
            self._retry(record, envelope, done)
        except Exception:  # the outer edge of the job: one session's fault must not cost the others their resends
            logger.exception("message %s could not be sent again to session %s", record.message_id, record.session_id)

    def _retry(self, record: Record, envelope: Envelope, done: Sweep) -> None:
        now_s = self._clock.monotonic()
        decision = plan_retry(now_s=now_s, expires_s=record.expires_s, retries=record.retries, policy=self._policy)
        session = self._hub.session(record.session_id)
        if decision is Retry.EXPIRE:
            self._give_up(record, done)
        elif session is None or not session.listens_to(USER_MESSAGES):
            self._ledger.close(record)
            done.not_online += 1
        elif not session.transport.has_room:  # it has not read yet what was sent before: more would only cut it off
            self._ledger.reschedule(record, self._next_due_s(record, now_s))
        else:
            self._resend(session, record, envelope, now_s)
            done.retried += 1

    def _next_due_s(self, record: Record, now_s: float) -> float:
        """Return the next due time, counted from the last one, so that late sweeps do not add up. Skip missed ones."""
        intervals = (now_s - record.due_s) // self._policy.interval_s + 1
        return min(record.due_s + intervals * self._policy.interval_s, record.expires_s)

    def _resend(self, session: Session, record: Record, envelope: Envelope, now_s: float) -> None:
        record.retries += 1
        record.attempt = record.trace.attempts = max(record.trace.attempts, record.attempt + 1)
        record.sent_ms = self._clock.epoch_ms()
        self._ledger.reschedule(record, self._next_due_s(record, now_s))
        self._log_event(
            "[%s] 重发, msgId %s, sessionId %s, retryCount %d", record.message_id, session.id, record.retries
        )
        session.publish(publication_of(envelope, record.attempt, record.sent_ms))
        if self._observer is not None:
            trace = record.trace
            self._observer(Resent(trace.id, trace.type, session.user, session.id, record.attempt, record.retries))

    def _give_up(self, record: Record, done: Sweep) -> None:
        self._ledger.close(record)
        done.expired += 1
        if self._observer is not None:
            trace = record.trace
            self._observer(Expired(trace.id, trace.type, record.session_id, record.retries))
        self._log_event(
            "[%s] 消息过期/超限, msgId %s, sessionId %s, retryCount %d",
            record.message_id,
            record.session_id,
            record.retries,
        )

    def _log_event(self, text: str, *args: object) -> None:
        if self._log_events:
            logger.info(text, self._ledger.label, *args)


def publication_of(envelope: Envelope, attempt: int, now_ms: int) -> Publication:
    """Return the message for `/user/queue/msg`. From attempt 2 on it carries `redelivered` and `attempt`."""
    headers = (("redelivered", "true"), ("attempt", str(attempt))) if attempt > 1 else ()
    body = envelope.encoder.encode(ack_retry_count=attempt - 1, ack_last_sent=now_ms)
    return Publication(envelope.message.id, USER_MESSAGES, body, headers)
