"""The load generator. Runs in a process of its own (`Remote`), and says what it took of its core itself."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.load.audience import BEAT, IN_FLIGHT, Audience
from bench.load.dialects import BARE, Dialect, stomp
from bench.load.http import Pacer, Pump
from bench.load.poller import Poller
from bench.load.receivers import Acknowledging, BroadcastTiming, Counting, PushTiming, Receiver
from bench.load.stalled import StalledReader
from bench.load.wire import masked

PIPELINED = 3
REST_S = 0.001  # of readers that have nothing to answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, latencies_s: Sequence[float]) -> "Latency":
        cuts = statistics.quantiles(latencies_s, n=100)
        return cls(p50_ms=cuts[49] * 1000, p99_ms=cuts[98] * 1000, max_ms=max(latencies_s) * 1000)


@dataclass(slots=True, kw_only=True)
class Took:
    """`start_s` and `end_s` are of the monotonic clock, which all processes of a machine share.

    `messages` are those that came, `requests` what was answered. `cpu_s` is the load generator's own.
    """

    start_s: float = 0.0
    end_s: float = 0.0
    cpu_s: float = 0.0
    messages: int = 0
    requests: int = 0
    latency: Latency | None = None
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def wall_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def load_share(self) -> float:
        """Of a core."""
        return self.cpu_s / self.wall_s


class Load:
    """Sessions and HTTP connections. Every method returns when all that it began has come to its end."""

    def __init__(self) -> None:
        self._poller = Poller()
        self._audience = Audience(self._poller, 0, BARE)
        self._stalled: StalledReader | None = None

    def idle(self) -> None:
        """Answers pings."""
        while self._poller.turn(0):
            pass

    # Sessions

    def open(self, port: int, count: int, dialect: Dialect | None = None) -> Took:
        """Opens so many, after those that were open are closed. Raises RuntimeError if any cannot be opened."""
        self.close()
        self._audience = Audience(self._poller, port, dialect or stomp())
        with self._took() as took:
            self._audience.open(count)
        self._complain()
        return took

    def close(self) -> None:
        self._audience.close()

    def leave(self) -> Took:
        """The sessions end in the way of the protocol."""
        with self._took() as took:
            self._audience.leave()
        return took

    def storm(self, port: int, count: int) -> Took:
        """All come, and when all are there all go."""
        self._audience = Audience(self._poller, port, stomp())
        with self._took() as took:
            self._audience.open(count)
            self._audience.leave()
        return took

    def churn(self, port: int, count: int, dialect: Dialect | None = None, in_flight: int = IN_FLIGHT) -> Took:
        """They come and go, so many at the same time."""
        self._audience = Audience(self._poller, port, dialect or stomp())
        with self._took() as took:
            self._audience.pass_through(count, in_flight=in_flight)
        return took

    def beat(self, seconds: float) -> Took:
        """Each session sends a heart-beat in every interval, evenly spread. `messages` are the beats of the server."""
        sessions, interval_s = tuple(self._audience.sessions), self._audience.dialect.beat_s
        assert interval_s is not None, "its dialect has heart-beats"
        with self._took() as took:
            count, before = round(len(sessions) * seconds / interval_s), self._audience.beats
            for number in range(count):
                while (wait_s := took.start_s + number * seconds / count - time.perf_counter()) > 0:
                    self._poller.turn(wait_s)
                sessions[number % len(sessions)].send(BEAT)
            took.messages = self._audience.beats - before
        self._complain()
        return took

    def frame_bytes(self) -> int:
        """Of the messages that came last, with the head."""
        return self._audience.frame_bytes

    def last_message_id(self) -> str:
        """Of those that were acknowledged."""
        receiver = self._audience.receiver
        assert isinstance(receiver, Acknowledging), "nothing was acknowledged"
        return receiver.last_message_id.decode()

    # As fast as it goes

    def read(self, frame_bytes: int, count: int) -> Took:
        """So many frames that come unasked."""
        receiver = self._audience.receiver = Counting()
        self._audience.frame_bytes = frame_bytes
        with self._took() as took:
            self._poller.run_until(lambda: receiver.messages >= count, rest_s=REST_S)
            took.messages = receiver.messages
        return took

    def pump(
        self,
        port: int,
        requests: Sequence[bytes],
        *,
        deliveries: int = 0,
        acknowledge: bool = False,
        connections: int = 1,
        window: int = PIPELINED,
        count: int | None = None,
        seconds: float | None = None,
        rest_s: float = 0.0,
    ) -> Took:
        """Each request brings so many deliveries, and all of them are waited for; see `Pump`.

        `acknowledge`: each is answered with SEND /app/ack, and the end is when the server has handled the last of them.
        """
        audience = self._audience
        receiver: Receiver = Acknowledging(audience) if acknowledge else Counting()
        audience.receiver = receiver
        pump = Pump(self._poller, port, requests, connections=connections, window=window, count=count, seconds=seconds)
        with self._took() as took:
            pump.start()
            self._poller.run_until(lambda: pump.is_done and receiver.messages >= pump.sent * deliveries, rest_s=rest_s)
            if acknowledge:
                audience.settle()
            took.messages, took.requests = receiver.messages, pump.answered
        pump.close()
        took.latency = Latency.of(pump.latencies_s) if len(pump.latencies_s) > 1 else None
        self._complain()
        assert took.messages == took.requests * deliveries, f"{took.messages} messages of {took.requests} requests"
        return took

    def say(self, text: str, *, deliveries: int, count: int, window: int = PIPELINED, rest_s: float = 0.0) -> Took:
        """As `pump`, for a server that takes broadcasts as frames of a session; each asks for a receipt."""
        audience, frame = self._audience, masked(text.encode())
        speaker = next(iter(audience.sessions))
        receiver = audience.receiver = Counting()
        before, said = audience.receipts, 0
        with self._took() as took:
            while audience.receipts - before < count:
                while said < count and said - (audience.receipts - before) < window:
                    speaker.send(frame)
                    said += 1
                self._poller.turn(1.0)
                time.sleep(rest_s)
            self._poller.run_until(lambda: receiver.messages >= count * deliveries, rest_s=rest_s)
            took.messages, took.requests = receiver.messages, count
        self._complain()
        return took

    # By the clock

    def pace_broadcasts(self, port: int, request: bytes, *, count: int, per_s: float) -> Took:
        """The latency is from just before each request until each session has the message."""
        started_s: list[float] = []
        receiver = self._audience.receiver = BroadcastTiming(self._audience, started_s)
        pacer = Pacer(self._poller, port, [request], connections=1)
        expected = count * len(self._audience.sessions)
        with self._took() as took:
            pacer.run(count=count, per_s=per_s, on_sent=lambda _, now_s: started_s.append(now_s))
            self._poller.run_until(lambda: receiver.messages >= expected)
            took.messages, took.requests = receiver.messages, count
        pacer.close()
        took.latency = Latency.of(receiver.latencies_s)
        self._complain()
        return took

    def pace_pushes(
        self, port: int, requests: Sequence[bytes], *, batch: int, count: int, per_s: float, connections: int
    ) -> Took:
        """`requests[n]` is for the sessions from n times `batch` on, one message each; all are acknowledged."""
        receiver = PushTiming(self._audience)
        self._audience.receiver = receiver
        sessions = tuple(self._audience.sessions)
        pacer = Pacer(self._poller, port, requests, connections=connections)

        def note(number: int, now_s: float) -> None:
            start = number % len(requests) * batch
            for session in sessions[start : start + batch]:
                session.due_s.append(now_s)

        with self._took() as took:
            pacer.run(count=count, per_s=per_s, on_sent=note)
            self._poller.run_until(lambda: receiver.messages >= count * batch)
            took.messages, took.requests = receiver.messages, count
        self._audience.settle()
        pacer.close()
        took.latency = Latency.of(receiver.latencies_s)
        self._complain()
        return took

    # A client that does not read

    def stall(self, port: int, user: str) -> None:
        self._stalled = StalledReader(port, user)

    def was_cut_off(self) -> bool:
        """Whether the server has ended the session of the client that does not read. Ends it otherwise."""
        assert self._stalled is not None, "nobody stalls"
        stalled, self._stalled = self._stalled, None
        return stalled.was_cut_off()

    @contextmanager
    def _took(self) -> Iterator[Took]:
        took = Took(start_s=time.perf_counter())
        cpu_s = time.process_time()
        yield took
        took.cpu_s = time.process_time() - cpu_s
        took.end_s = time.perf_counter()
        took.errors = dict(self._audience.errors)

    def _complain(self) -> None:
        errors, self._audience.errors = self._audience.errors, type(self._audience.errors)()
        if errors:
            raise RuntimeError(f"the sessions met errors: {dict(errors)}")
