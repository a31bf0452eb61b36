"""What CONNECTED promises of heart-beats is kept."""

import asyncio

from tests.client import stomp_client
from tests.e2e.backend import Backend

INTERVAL_S = 0.4
SETTINGS = {"HEARTBEAT_SEND_MS": "400", "HEARTBEAT_RECEIVE_MS": "0"}


async def test_promised_interval_is_kept_below_a_second_too(backend: Backend) -> None:
    async with stomp_client(backend.server.websocket_url) as client:
        connected = await client.connect("test-beat", **{"heart-beat": "0,400"})
        assert connected.headers["heart-beat"] == "400,0"
        for _ in range(3):
            # Twice the interval is where stompjs takes the server for dead.
            assert await asyncio.wait_for(client.websocket.recv(), 2 * INTERVAL_S) == "\n"
