"""A soak test: pushes at a steady rate to clients that come and go, until the memory of the service has a plateau.

`make soak`, or `python -m tests.soak --minutes 10 --log-size 20000`. Prints the resident memory every ten seconds and
ends with status 1 if it still grows. The first half of the time must suffice to fill the delivery log.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from tests.client import StompClient, listening
from tests.e2e.faults import cut
from tests.service import Server, running_server
from tests.sockjs_client import stomp_over_sockjs
from tests.transports.raw_http import Exchange

USERS = 60
PUSHERS = 6
SAMPLE_S = 10.0
AT_HOME_S, AWAY_S = (3.0, 20.0), (0.0, 3.0)
SOCKJS_SHARE = 0.2
PLATEAU_BYTES = 50.0  # a push, at most: a trace that is never freed takes about a thousand
SETTINGS = {"MAX_SESSIONS_PER_USER": "100", "ACK_MESSAGE_TTL_MS": "60000"}


@dataclass
class Soak:
    server: Server
    rate: float
    counts: Counter[str] = field(default_factory=Counter)

    async def run(self, minutes: float) -> float:
        """Return the growth in bytes per push over the second half."""
        async with asyncio.TaskGroup() as group:
            load = [group.create_task(self._push(number)) for number in range(PUSHERS)]
            load += [group.create_task(self._come_and_go(f"test-{number}")) for number in range(USERS)]
            samples = await self._sample(minutes * 60)
            for task in load:
                task.cancel()
        half = samples[len(samples) // 2 :]
        return slope([pushes for pushes, _ in half], [rss for _, rss in half])

    async def _sample(self, seconds: float) -> list[tuple[int, int]]:
        samples, started_s = [], time.monotonic()
        for number in range(1, round(seconds / SAMPLE_S) + 1):
            await asyncio.sleep(started_s + number * SAMPLE_S - time.monotonic())
            samples.append((self.counts["pushes"], resident_bytes(self.server.process.pid)))
            counts = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
            print(f"{number * SAMPLE_S:5.0f} s  {samples[-1][1] / 1e6:6.1f} MB  {counts}", flush=True)  # noqa: T201
        return samples

    async def _push(self, number: int) -> None:
        """Every hundredth push with a key, every hundredth persisted, every hundredth to all."""
        period_s = PUSHERS / self.rate
        async with Exchange(self.server.port) as http:
            due_s = time.monotonic() + random.random() * period_s
            for count in itertools.count():
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                due_s += period_s
                user, headers = f"test-{random.randrange(USERS)}", {"Content-Type": "text/plain"}
                path = {1: f"cluster/notify/{user}", 2: "push_all_obj"}.get(count % 100, f"push_all_obj/{user}")
                if count % 100 == 3:
                    headers["Idempotency-Key"] = f"{number}-{count}"
                reply = await http.request("POST", f"/vh-stomp-wsend/{path}", headers, b"x" * 256)
                self.counts["pushes"] += 1
                if reply.status != 200:
                    self.counts[f"answered {reply.status}"] += 1

    async def _come_and_go(self, user: str) -> None:
        while True:
            with contextlib.suppress(ConnectionClosed, OSError):
                if random.random() < SOCKJS_SHARE:
                    async with stomp_over_sockjs(self.server.port, "xhr-streaming") as client:
                        await client.connect(user)
                        await client.subscribe()
                        await self._stay(client)
                else:
                    async with listening(self.server.websocket_url, user) as client:
                        await self._stay(client)
                        if random.random() < 0.5:
                            cut(client)
            self.counts["sessions"] += 1
            await asyncio.sleep(random.uniform(*AWAY_S))

    async def _stay(self, client: StompClient) -> None:
        """Acknowledges all but every twentieth message at once, which is sent again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(*AT_HOME_S)):
                while True:
                    frame = await client.expect("MESSAGE", AT_HOME_S[1])
                    self.counts["received"] += 1
                    if json.loads(frame.body)["receiver"] and random.random() < 0.95:
                        await client.ack(frame.headers["message-id"])


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def slope(xs: list[int], ys: list[int]) -> float:
    """Of the straight line through the points, by least squares."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=300, help="pushes per second")
    parser.add_argument("--log-size", type=int, default=100_000, help="DELIVERY_LOG_SIZE")
    options = parser.parse_args()
    with running_server(DELIVERY_LOG_SIZE=str(options.log_size), **SETTINGS) as server:
        growth = asyncio.run(Soak(server, options.rate).run(options.minutes))
    verdict = "a plateau" if growth < PLATEAU_BYTES else "no plateau"
    print(f"{verdict}: {growth:+.1f} bytes per push in the second half")  # noqa: T201
    return 0 if growth < PLATEAU_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
