"""Nodes that each have one defect, to show that the model notices it."""

import asyncio
from collections.abc import Sequence

from app.delivery.listeners import Listeners
from app.delivery.log import Trace
from app.delivery.mailbox import Missed
from app.delivery.streams import Streams
from app.hub.held import HeldBroadcasts
from app.messages.message import Envelope
from tests.delivery.mailbox_machine import MailboxMachine
from tests.delivery.model_mailbox import LinkMailbox
from tests.delivery.model_nodes import ModelNode


class UnacknowledgedOnly(LinkMailbox):
    def find_missed(self, user: str, cursor: int) -> Missed:
        missed = super().find_missed(user, cursor)
        store = self.server.store
        left = [one for one in missed.envelopes if not store.is_acknowledged(user, one.message.id)]
        return missed._replace(envelopes=left)


class RemovedFromLog(LinkMailbox):
    def take_acknowledgement(self, user: str, message_id: str) -> None:
        super().take_acknowledgement(user, message_id)
        log = self.server.store._logs.get(user)
        for entry in [entry for entry in log.entries if entry[1].message.id == message_id] if log else ():
            self.server.store._logs[user].entries.remove(entry)


class NoPreviousCheck(Streams):
    def accept(self, user: str, seq: int, previous: int) -> bool:
        stream = self._streams.get(user)
        return super().accept(user, seq, previous if stream is None or stream.cursor is None else stream.cursor)


class CursorKept(Streams):
    def close(self, user: str) -> None:
        pass


class NoResume(Streams):
    def resume(self, users: Sequence[str]) -> None:
        pass


class LiveDuringCatchUp(Streams):
    def accept(self, user: str, seq: int, previous: int) -> bool:
        stream = self._streams.get(user)
        if stream is not None and stream.is_catching_up and stream.cursor is not None and seq > stream.cursor:
            stream.cursor = seq
            return True
        return super().accept(user, seq, previous)


class SinceIgnored(Listeners):
    def send(self, envelope: Envelope, trace: Trace) -> int:
        sinces = {session: session.since for session in self.of(envelope.receiver)}
        for session in sinces:
            session.since = None
        try:
            return super().send(envelope, trace)
        finally:
            for session, since in sinces.items():
                session.since = since


class OwnPushLate(Listeners):
    """The cursor moves when the reply arrives, and the sessions get the message when the push goes on."""

    def send(self, envelope: Envelope, trace: Trace) -> int:
        asyncio.get_running_loop().call_soon(super().send, envelope, trace)
        return 1

    def apply(self, envelope: Envelope) -> None:
        super().send(envelope, self._log.trace_of(envelope))


class HoldsNothing(Listeners):
    def hold_broadcasts(self, user: str) -> None:
        pass


class ReleasedLast(HeldBroadcasts):
    def release(self, user: str, before: int) -> None:
        pass


class UnacknowledgedOnlyMachine(MailboxMachine):
    new_mailbox = UnacknowledgedOnly


class RemovedFromLogMachine(MailboxMachine):
    new_mailbox = RemovedFromLog


class NoHeadCheckMachine(MailboxMachine):
    checks_heads = False


class StreamsMachine(MailboxMachine):
    """With `streams` in each node."""

    streams: type[Streams]

    def spoil(self, node: ModelNode) -> None:
        node.delivery.streams.__class__ = self.streams


class NoResumeMachine(StreamsMachine):
    """Where no subscription is lost without notice, the head check is not needed and would hide the defect."""

    streams = NoResume
    forgets = checks_heads = False


class SinceIgnoredMachine(MailboxMachine):
    def spoil(self, node: ModelNode) -> None:
        node.delivery._listeners.__class__ = SinceIgnored


class OwnPushLateMachine(MailboxMachine):
    def spoil(self, node: ModelNode) -> None:
        node.delivery._listeners.__class__ = OwnPushLate


class HoldsNothingMachine(MailboxMachine):
    def spoil(self, node: ModelNode) -> None:
        node.delivery._listeners.__class__ = HoldsNothing


class ReleasedLastMachine(MailboxMachine):
    def spoil(self, node: ModelNode) -> None:
        node.node.hub.held.__class__ = ReleasedLast


def _with_streams(streams: type[Streams]) -> type[MailboxMachine]:
    return type(f"{streams.__name__}Machine", (StreamsMachine,), {"streams": streams})


MUTANTS: dict[str, type[MailboxMachine]] = {
    "catch-up of unacknowledged entries only": UnacknowledgedOnlyMachine,
    "acknowledgement removes from the log": RemovedFromLogMachine,
    "no check of the seq before": _with_streams(NoPreviousCheck),
    "own push applied late": OwnPushLateMachine,
    "cursor kept after the last session left": _with_streams(CursorKept),
    "no head check": NoHeadCheckMachine,
    "since ignored": SinceIgnoredMachine,
    "no catch-up after a loss of the link": NoResumeMachine,
    "broadcasts go on while messages are missing": HoldsNothingMachine,
    "broadcasts wait until everything missed was sent": ReleasedLastMachine,
    "live messages applied while catching up": _with_streams(LiveDuringCatchUp),
}
