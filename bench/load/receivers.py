"""What is done with messages that come. The hot end of the load generator."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from bench.load.wire import masked

if TYPE_CHECKING:
    from bench.load.audience import Audience
    from bench.load.session import Session

REMEMBERED = 1_000


class Receiver(Protocol):
    messages: int

    def take(self, session: "Session", data: bytes, count: int) -> None:
        """`data` is so many frames of the same size."""


class Counting:
    def __init__(self) -> None:
        self.messages = 0

    def take(self, session: "Session", data: bytes, count: int) -> None:
        self.messages += count


class Acknowledging:
    """Answers each message with a frame of its own; those of messages that came together leave together."""

    def __init__(self, audience: "Audience") -> None:
        self.messages = 0
        self.last_message_id = b""
        self._audience = audience
        self._frames: dict[bytes, bytes] = {}

    def take(self, session: "Session", data: bytes, count: int) -> None:
        self.messages += count
        start, end = self._audience.id_place
        if count == 1:
            session.send(self._ack(data[start:end]))
        else:
            size = len(data) // count
            session.send(b"".join([self._ack(data[at + start : at + end]) for at in range(0, len(data), size)]))

    def _ack(self, message_id: bytes) -> bytes:
        frame = self._frames.get(message_id)
        if frame is None:
            if len(self._frames) >= REMEMBERED:
                self._frames.clear()
            self.last_message_id = message_id
            frame = self._frames[message_id] = masked(b"SEND\ndestination:/app/ack\n\n%b\0" % message_id)
        return frame


class PushTiming(Acknowledging):
    """And notes how long each took, from what `Session.due_s` says."""

    def __init__(self, audience: "Audience") -> None:
        super().__init__(audience)
        self.latencies_s: list[float] = []

    def take(self, session: "Session", data: bytes, count: int) -> None:
        now_s = time.perf_counter()
        for _ in range(count):
            self.latencies_s.append(now_s - session.due_s.popleft())
        super().take(session, data, count)


class BroadcastTiming:
    """The first message of each session is of the first broadcast, and so on: `started_s` has when each began."""

    def __init__(self, audience: "Audience", started_s: Sequence[float]) -> None:
        self.messages = 0
        self.latencies_s: list[float] = []
        self._started_s = started_s
        for session in audience.sessions:
            session.taken = 0

    def take(self, session: "Session", data: bytes, count: int) -> None:
        now_s = time.perf_counter()
        self.messages += count
        for number in range(session.taken, session.taken + count):
            self.latencies_s.append(now_s - self._started_s[number])
        session.taken += count
