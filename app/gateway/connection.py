"""A client's connection, between its transport, its STOMP session and the dispatcher."""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any

from app.connections.limits import Place
from app.disconnects import DISPLACED, GONE, INTERNAL_ERROR, NORMAL, REPLACED, DisconnectReason
from app.gateway.admission import authenticate, count_in
from app.gateway.dispatch import Confirmation
from app.gateway.failures import Failure, failure_of, told, too_fast
from app.gateway.liveness import Liveness
from app.gateway.owner import Owner
from app.gateway.rate import Strain, TokenBucket
from app.gateway.services import Services
from app.hub.session import Session
from app.hub.transport import Transport
from app.messages.destinations import APP_ACK, USER_ERRORS
from app.stomp.codec import HEARTBEAT
from app.stomp.errors import ProtocolError
from app.stomp.events import Ack, Commit, Connect, Disconnect, Event, Send, Subscribe, Unsubscribe
from app.stomp.session import ServerSession

RETIRE_S = 1.0

logger = logging.getLogger(__name__)


class Connection:
    """A client with its transport, before and after CONNECT.

    The transport calls `receive` and `closed`; its owner calls everything else. Only `retire` waits.
    """

    __slots__ = (
        "_bucket",
        "_completes",
        "_has_rest",
        "_held",
        "_is_gone",
        "_over",
        "_owner",
        "_services",
        "_stomp",
        "_strain",
        "_work",
        "life",
        "place",
        "session",
        "session_id",
        "transport",
    )

    def __init__(self, transport: Transport, services: Services, owner: "Owner[Connection]") -> None:
        now_s = services.clock.monotonic()
        options = services.options
        self.transport = transport
        self.session: Session | None = None
        self.place: Place = ("", 0)  # what it counts for, since the gateway has it
        self.session_id = ""  # from the moment when it is counted, a little before there is a session
        self._services = services
        self._owner = owner
        self._stomp = ServerSession(options.limits, heartbeat=options.heartbeat, server=options.server)
        self._bucket = TokenBucket(rate=options.inbound_rate, burst=options.inbound_burst, now_s=now_s)
        self._held: Event | None = None  # a frame beyond the rate, which waits until the client may send again
        self._strain: Strain | None = None
        self._work: asyncio.Task[None] | None = None
        self._completes = False  # the work is done to its end, though the client hangs up
        self._is_gone = False
        self._over = False
        self._has_rest = False  # bytes that are not a whole frame yet, or wait behind one that is worked on
        self.life = Liveness(now_s)

    # Called by the transport

    def receive(self, data: bytes) -> None:
        """Take bytes that the client sent. They may be cut anywhere."""
        if self._over:
            return
        self.life.heard_s = self._services.clock.monotonic()
        if not self._has_rest:
            if data == HEARTBEAT:  # all that most connections ever send
                return
            if self._work is None and (event := self._stomp.plain_send(data)) is not None:
                self._take(event)
                return
        self._stomp.receive_data(data)
        self._has_rest = True
        if self._work is None:
            self._pump()
        if self._work is not None and self._has_rest:  # the client does not wait: read no more until all is handled
            self.transport.pause_reading()

    def closed(self) -> None:
        """Finish after the transport has closed. Frames that the client sent before are handled first."""
        self._is_gone = True
        if not self._over and (self._held or (self._work and self._completes)):
            self._leave()
        else:
            self._finish(GONE)
            self._owner.gone(self)

    # Called by the owner

    def end(self, reason: DisconnectReason) -> None:
        """End the session and close the transport. What was sent before still goes out, except to a slow consumer."""
        self._finish(reason)
        self.transport.close(reason)
        if self._is_gone:
            self._owner.gone(self)

    def displace(self) -> bool:
        """End to make room for another connection. Return False while a CONNECT is being handled."""
        if self._work is None:
            self.end(DISPLACED)
        return self._work is None

    @property
    def is_busy(self) -> bool:
        """Whether a frame is being handled or held back. Little or nothing is read meanwhile."""
        return self._work is not None or self._held is not None

    @property
    def is_held(self) -> bool:
        """Whether a frame is held back by the rate limit."""
        return self._held is not None

    def let_through(self) -> None:
        """Handle as many held-back frames as the rate limit now allows."""
        event, self._held, strain = self._held, None, self._strain
        assert event is not None, "only called while a frame is held"
        assert strain is not None, "made when the frame was held"
        self.life.heard_s = now_s = self._services.clock.monotonic()
        self._take(event)
        if not self._over:
            self._go_on()
        options = self._services.options
        if self._held is None:
            strain.end(now_s)
        elif strain.seconds(now_s) > options.inbound_patience_s:
            self._refuse(too_fast(options.inbound_rate, options.inbound_patience_s), None)

    async def retire(self) -> None:
        """End for a newer session of the same device. On return, every frame of this client is handled or dropped."""
        if not self._is_gone:
            self.end(REPLACED)
        for _ in range(2):  # for what is under way, then for the end of what came behind it
            if self._work is not None:
                await asyncio.wait([self._work], timeout=RETIRE_S)
            if not self._over:
                self.end(REPLACED)

    # Events in their order, one at a time

    def _pump(self) -> None:
        stomp = self._stomp
        while self._work is None and self._held is None and not self._over and stomp.buffered:
            try:
                event = stomp.next_event()
            except ProtocolError as error:
                self._fail(error, error.receipt_id)
                return
            if event is None:
                break
            if not (self._is_gone and isinstance(event, Subscribe | Unsubscribe)):
                self._take(event)
        self._has_rest = stomp.buffered > 0 or self._held is not None

    def _go_on(self) -> None:
        """Handle the frames behind one that has been handled."""
        self._pump()
        if self._is_gone:
            self.closed()
        elif self._work is None and self._held is None:
            # Not earlier, or each frame that is done would let in others, and they would pile up.
            self.transport.resume_reading()

    def _take(self, event: Event) -> None:
        session = self.session
        is_ack = event.destination == APP_ACK if type(event) is Send else isinstance(event, Ack)
        if is_ack and session is not None and session.unanswered:
            session.unanswered -= 1  # costs nothing: how often a client has to acknowledge is the server's doing
        elif not self._bucket.take(self.life.heard_s):
            self._hold(event)
            return
        receipt = event.receipt
        pending: Awaitable[Confirmation | None] | None
        try:
            if session is None or type(event) is Connect or type(event) is Disconnect:
                pending = self._begin_or_end(event)
            else:
                pending = self._services.dispatcher.perform(session, event)
        except Exception as error:
            self._fail(error, receipt)
            return
        if pending is None:
            if receipt is not None:
                self._confirm(receipt)
        elif isinstance(pending, Confirmation):
            self._start(self._confirm_later(pending, receipt), "receipt")
        else:
            self._completes = isinstance(event, Send | Commit)
            self._work = self._start(self._await(pending, receipt), "frame")

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        return self._services.tasks.start(work, f"{name} of {self.name}")

    def _hold(self, event: Event) -> None:
        """Hold a frame until the rate limit allows it. Reading pauses, so later frames wait at the client."""
        self._held = event
        self._has_rest = True
        self._strain = self._strain or Strain(self.life.heard_s)
        self._strain.begin(self.life.heard_s)
        self.transport.pause_reading()
        self._owner.held_back(self)

    def _begin_or_end(self, event: Event) -> Awaitable[None] | None:
        if isinstance(event, Connect):
            return self._connect(event)
        assert isinstance(event, Disconnect), "nothing comes before CONNECT"
        self._confirm(event.receipt)
        self.end(NORMAL)
        return None

    async def _await(self, pending: Awaitable[Confirmation | None], receipt: str | None) -> None:
        """Await the rest of a frame's handling. The frames behind it wait."""
        try:
            confirmation = await pending
            if confirmation is None:
                self._confirm(receipt)
            else:
                self._start(self._confirm_later(confirmation, receipt), "receipt")
        except asyncio.CancelledError as error:
            if self._over:
                self._work = None  # the task will hold this error, whose frame holds the connection
                raise
            self._fail(error, receipt)  # not this task was cancelled, but something that the handler awaited
        except Exception as error:
            self._fail(error, receipt)
        self._work = None
        if self._over:
            return
        self.life.heard_s = self._services.clock.monotonic()
        self._go_on()

    async def _connect(self, event: Connect) -> None:
        session = await authenticate(self._services, event, self._stomp.version, self.transport, self.end)
        self.session_id = session.id
        self._owner.admitting(self)
        await count_in(self._services, session, self._owner.retire)
        if self._over:
            self._services.presence.leave(session.user, session.id)
            return
        self.session = session
        self._services.hub.join(session)
        self.life.agree(self._stomp.heartbeat, self._services.clock.monotonic())
        session.send(self._stomp.accept(session_id=session.id, user=session.user))
        self._owner.admitted(self, session)

    # Answers

    def _confirm(self, receipt: str | None) -> None:
        if receipt is not None and not self._over:
            self.transport.send(self._stomp.receipt(receipt))

    async def _confirm_later(self, pending: Confirmation, receipt: str | None) -> None:
        await pending
        self._confirm(receipt)

    def _fail(self, error: BaseException, receipt: str | None) -> None:
        failure = failure_of(error, is_connected=self.session is not None)
        if failure.reason is INTERNAL_ERROR:
            logger.error("a frame of %s could not be handled", self.name, exc_info=error)
        if not failure.ends and self.session is not None and self.session.listens_to(USER_ERRORS):
            self.session.publish(told(failure, receipt, self._services.delivery.new_id()))
        elif failure.ends or failure.must_be_told or receipt is not None:  # an ERROR is the only answer left
            self._refuse(failure, receipt)
        else:
            logger.info("%s: %s", self.name, failure.detail)

    def _refuse(self, failure: Failure, receipt: str | None) -> None:
        if not self._over:
            self._owner.refused(self, failure)
            error = self._stomp.error(failure.title, failure.detail, receipt_id=receipt, headers=failure.headers)
            self.transport.send(error)
            self.end(failure.reason)

    # The end

    def _finish(self, reason: DisconnectReason) -> None:
        """Release everything that the connection holds. Later calls do nothing."""
        if self._over:
            return
        self._over = True
        if self._work is not None and self._work is not asyncio.current_task():
            # Not before its first step: a coroutine that is cancelled earlier leaves what it awaits never awaited.
            asyncio.get_running_loop().call_soon(self._work.cancel)
        session = self.session
        if session is not None:
            session.end = session.transport.close  # or they would hold each other
        self._leave()
        if session is not None:
            self._services.presence.leave(session.user, session.id)
        self._owner.ended(self, reason)

    def _leave(self) -> None:
        """Take the session out of the hub, so that nothing more is sent to it."""
        if self.session is not None and self._services.hub.leave(self.session):
            self._services.delivery.leave(self.session)

    @property
    def name(self) -> str:
        """The name of the connection in log lines."""
        session = self.session
        return f"session {session.id}" if session else f"connection from {self.transport.remote}"
