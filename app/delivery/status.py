"""The status of a message when the nodes that sent it have ended or forgotten it."""

import asyncio
import logging
from typing import Literal

from app.delivery.log import DeliveryLog, Trace
from app.delivery.mailbox import Fate, Mailbox
from app.errors import Unavailable
from app.timing.clock import Clock

SLICE, PAUSE_S = 50, 0.01  # users that are asked about at once, and the time that others get between two slices

logger = logging.getLogger(__name__)

Status = Literal["stored", "sent", "delivered", "expired", "unknown"]


async def shared_status(
    mailbox: Mailbox, user: str, message_id: str, status: Status, *, created_ms: int, expires_ms: int, now_ms: int
) -> Status:
    """Return the status of a transient message of which the nodes that are left say `status`.

    Another node may have had its acknowledgement. While acknowledgements are remembered, a message without one has
    expired once its time is over; after that the status is unknown.
    """
    if not mailbox.is_durable:
        return status  # this node alone sends, and remembers
    try:
        fate = await mailbox.fate(user, message_id)
    except Unavailable:
        return "unknown" if now_ms >= expires_ms else status
    if fate is Fate.ACKNOWLEDGED:
        return "delivered"
    if fate is Fate.WAITS:  # by the clock of the store: that of this node may be wrong
        return status
    if now_ms >= created_ms + mailbox.remember_ms:
        return "unknown"
    return "expired" if now_ms >= expires_ms else "unknown"


class AcknowledgementsOfOthers:
    """Takes over the acknowledgements of a node that has ended, while the mailbox remembers them."""

    def __init__(self, *, log: DeliveryLog, mailbox: Mailbox, clock: Clock) -> None:
        self._log = log
        self._mailbox = mailbox
        self._clock = clock

    async def take_over(self) -> None:
        """Record in the delivery log which messages were acknowledged to other nodes."""
        since_ms = self._clock.epoch_ms() - self._mailbox.remember_ms
        users: dict[str, list[Trace]] = {}
        for trace in self._log.open_traces():
            if trace.receiver is not None and trace.created_ms >= since_ms:
                users.setdefault(trace.receiver, []).append(trace)
        of_users = list(users.items())
        for start in range(0, len(of_users), SLICE):
            try:
                await asyncio.gather(*(self._ask(user, traces) for user, traces in of_users[start : start + SLICE]))
            except Unavailable as error:
                logger.info("what an ended node was told is not known: %s", error)
                return
            await asyncio.sleep(PAUSE_S)

    async def _ask(self, user: str, traces: list[Trace]) -> None:
        known = await self._mailbox.acknowledged(user, [trace.id for trace in traces])
        for trace, is_acknowledged in zip(traces, known, strict=True):
            if is_acknowledged and trace.acked_ms is None:
                trace.acked_ms = self._clock.epoch_ms()
