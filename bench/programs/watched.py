"""The service, with a watch on how long its event loop is held: python -m bench.programs.watched serve.

GET /bench/loop answers the longest hold since it was asked last, and forgets it.
"""

import asyncio
import socket
import time

from app.cli.commands import main
from app.server import server

EVERY_S = 0.001


class LoopWatch:
    """A timer that wants to run every ms: what it is late is what others held the loop, or the core, for."""

    def __init__(self) -> None:
        self._longest_s = 0.0
        self._last_s = time.perf_counter()
        self._tick()

    def _tick(self) -> None:
        now_s = time.perf_counter()
        self._longest_s = max(self._longest_s, now_s - self._last_s - EVERY_S)
        self._last_s = now_s
        asyncio.get_running_loop().call_later(EVERY_S, self._tick)

    async def report(self) -> dict[str, float]:
        longest_s, self._longest_s = self._longest_s, 0.0
        return {"longest_hold_ms": longest_s * 1000}


class WatchedServer(server.DrainingServer):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._services[0].add_api_route("/bench/loop", LoopWatch().report)


if __name__ == "__main__":
    server.DrainingServer = WatchedServer  # type: ignore[misc]
    main()
