"""What devices say of the messages that they were sent."""

from collections.abc import Awaitable

from app.delivery.ack_manager import AckManager
from app.delivery.archive import Archive
from app.delivery.log import DeliveryLog, Trace
from app.delivery.mailbox import Mailbox
from app.delivery.observer import Acknowledged, Observer
from app.hub.session import Session
from app.timing.clock import Clock

MAX_UNKNOWN_ACKS = 1_000


class Acknowledgements:
    """Passes an acknowledgement on to everything that remembers the message: ledger, log, mailbox and `archive`."""

    def __init__(
        self,
        *,
        acks: AckManager,
        mailbox: Mailbox,
        log: DeliveryLog,
        clock: Clock,
        archive: Archive,
        observer: Observer | None = None,
    ) -> None:
        self._acks = acks
        self._mailbox = mailbox
        self._log = log
        self._clock = clock
        self._observer = observer
        self._archive = archive

    def acknowledge_up_to(self, session: Session, message_id: str) -> None:
        """This message and all that was sent to the session before it."""
        for acknowledged in self._acks.up_to(session, message_id):
            self.acknowledge(session, acknowledged)

    def acknowledge(self, session: Session, message_id: str) -> None:
        """Unknown ids are no error: from before a restart, or made up, so a session has a limited number of them."""
        if self.acknowledge_known(session, message_id):
            return
        was_open = self._acks.acknowledge(session, message_id)  # the log may have forgotten what the ledger has
        session.unknown_acks += not was_open
        if was_open or session.unknown_acks <= MAX_UNKNOWN_ACKS:
            self._mailbox.acknowledge(session.user, message_id)
            self._archive.delivered(session.user, message_id)
            _take_from_replay(session, message_id)

    def acknowledge_known(self, session: Session, message_id: str) -> bool:
        """As `acknowledge`. False, and nothing was done, if no message of this id was pushed or sent here lately."""
        trace = self._log.get(message_id)
        if trace is None:
            return False
        was_open = self._acks.acknowledge(session, message_id)
        self._mailbox.acknowledge(session.user, message_id)
        if not was_open and trace.receiver == session.user:  # it came on an earlier connection or subscription
            self._acknowledge_earlier(session, trace)
            _take_from_replay(session, message_id)
        if trace.persisted:
            self._archive.delivered(session.user, message_id)
        return True

    def _acknowledge_earlier(self, session: Session, trace: Trace) -> None:
        is_first, now_ms = trace.acked_ms is None, self._clock.epoch_ms()
        trace.acknowledge(session.id, now_ms)
        if is_first and self._observer is not None:
            self._observer(Acknowledged(trace.id, trace.type, session.user, session.id, None, now_ms))

    def confirmation(self, session: Session, message_id: str) -> Awaitable[None] | None:
        """Completes when the acknowledgement survives the end of this process; None if it does.

        A mailbox forgets after a while what the archive would send for longer.
        """
        in_mailbox = self._mailbox.confirmation(session.user, message_id)
        in_archive = self._archive.confirmation(session.user, message_id)
        return _both(in_mailbox, in_archive) if in_mailbox and in_archive else in_mailbox or in_archive

    def nack(self, session: Session, message_id: str, *, cumulative: bool = False) -> None:
        """NACK: the record becomes due again after the retry interval."""
        for refused in self._acks.up_to(session, message_id) if cumulative else (message_id,):
            self._acks.postpone(session, refused)


def _take_from_replay(session: Session, message_id: str) -> None:
    """The replay may have read the message before, and has not sent it yet."""
    if session.replay is not None:
        session.replay.withdrawn.add(message_id)


async def _both(first: Awaitable[None], second: Awaitable[None]) -> None:
    await first
    await second
