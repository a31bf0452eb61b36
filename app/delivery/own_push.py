"""A push of this node on its way to the sessions of this node."""

from app.delivery.listeners import Listeners
from app.delivery.log import Trace
from app.delivery.mailbox import UNHEARD, Keep, Placed
from app.delivery.relay import Relay
from app.delivery.streams import Streams
from app.messages.message import Envelope

NOT_PLACED = Placed()


class OwnPush:
    """Sends a message once the mailbox accepts it, in order with those of other nodes. `sessions` were reached."""

    __slots__ = ("_envelope", "_listeners", "_placed", "_relay", "_streams", "_trace", "keep", "sessions")

    def __init__(
        self, streams: Streams, listeners: Listeners, relay: Relay, envelope: Envelope, trace: Trace, keep: Keep
    ) -> None:
        self._streams = streams
        self._listeners = listeners
        self._relay = relay
        self._envelope = envelope
        self._trace = trace
        self._placed = NOT_PLACED
        self.keep = keep
        self.sessions = 0

    def on_accepted(self, placed: Placed) -> None:
        self._placed = placed
        self._relay.in_order(self._apply)

    def _apply(self) -> None:
        envelope, placed = self._envelope, self._placed
        if self.keep is UNHEARD and placed.kept:
            return  # no session was there; the next one finds it in its mailbox
        if self._streams.accept(envelope.receiver, placed.seq, placed.previous):
            self.sessions = self._listeners.send(envelope, self._trace)
        else:  # no session listens, or the stream catches up and will find it
            self.sessions = len(self._listeners.of(envelope.receiver))
