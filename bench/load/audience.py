"""Many sessions that listen, on one port."""

import time
from collections import Counter
from collections.abc import Callable

from bench.load.dialects import Dialect
from bench.load.poller import Poller
from bench.load.receivers import Counting, Receiver
from bench.load.session import Session
from bench.load.wire import masked

IN_FLIGHT = 500  # sessions that are opening at the same time: within the backlog of the server
ID_MARK = b"\nmessage-id:"
BEAT = masked(b"\n")
# A receipt that comes in its turn: that of an acknowledgement would come once it is durable.
SETTLE = masked(b"BEGIN\ntransaction:t\n\n\0") + masked(b"ABORT\ntransaction:t\nreceipt:settled\n\n\0")


class Audience:
    """`receiver` takes the messages. `errors` counts what should not have happened, by its text.

    `frame_bytes`: the size of the last frame that was looked at. What consists of frames of this size is not looked at:
    only their number and, at `id_place` in each, their message ids count.
    """

    def __init__(self, poller: Poller, port: int, dialect: Dialect) -> None:
        self.poller = poller
        self.port = port
        self.dialect = dialect
        self.sessions: dict[Session, None] = {}
        self.receiver: Receiver = Counting()
        self.errors: Counter[str] = Counter()
        self.beats = 0
        self.receipts = 0
        self.ready = 0
        self.left = 0
        self.failed = 0  # of those that left: before they were ready
        self.frame_bytes = 0
        self.id_place = (0, 0)
        self._beaten_s = time.monotonic()
        self._on_ready: Callable[[Session], None] | None = None

    def open(self, count: int) -> None:
        """Returns when all are subscribed, or have failed."""
        self._start_all(count, lambda: self.ready + self.failed)

    def pass_through(self, count: int, *, in_flight: int = IN_FLIGHT) -> None:
        """So many sessions come, and each goes as soon as it is subscribed."""
        self._on_ready = Session.leave
        self._start_all(count, lambda: self.left, in_flight)
        self._on_ready = None

    def _start_all(self, count: int, finished: Callable[[], int], in_flight: int = IN_FLIGHT) -> None:
        before = finished()
        for number in range(count):
            self._beat()
            self.poller.run_until(lambda number=number: number - (finished() - before) < in_flight)  # type: ignore[misc]
            self.sessions[Session(self, number)] = None
        self.poller.run_until(lambda: finished() - before == count)

    def _beat(self) -> None:
        """Those that came first must not be taken for dead while the others come."""
        interval_s, now_s = self.dialect.beat_s, time.monotonic()
        if interval_s is not None and now_s - self._beaten_s > interval_s:
            self._beaten_s = now_s
            for session in self.sessions:
                if session.is_ready:
                    session.send(BEAT)

    def leave(self) -> None:
        """Returns when the server has ended all sessions."""
        for count, session in enumerate(tuple(self.sessions), start=1):
            session.leave()
            if count % IN_FLIGHT == 0:
                self.poller.turn(0)
        self.poller.run_until(lambda: not self.sessions)

    def settle(self) -> None:
        """Returns when the server has handled all that the sessions have sent so far."""
        before = self.receipts
        for session in self.sessions:
            session.send(SETTLE)
        self.poller.run_until(lambda: self.receipts - before == len(self.sessions))

    def close(self) -> None:
        """Hangs up."""
        for session in self.sessions:
            self.poller.remove(session.connection)
            session.connection.close()
        self.sessions.clear()

    # Called by the sessions

    def became_ready(self, session: Session) -> None:
        session.is_ready = True
        self.ready += 1
        if self._on_ready is not None:
            self._on_ready(session)

    def has_left(self, session: Session, *, as_wished: bool) -> None:
        del self.sessions[session]
        self.left += 1
        self.failed += not session.is_ready
        if not as_wished:
            self.note_error("the server hung up")

    def note_error(self, text: str) -> None:
        self.errors[text] += 1

    def learn(self, frame: bytes) -> None:
        if len(frame) != self.frame_bytes:
            self.frame_bytes = len(frame)
            start = frame.find(ID_MARK) + len(ID_MARK)
            self.id_place = (start, frame.find(b"\n", start))
