"""SIGTERM: everybody is told to come back, to another process."""

import asyncio
import signal

from tests.client import listening, stomp_client
from tests.e2e.backend import open_backend
from tests.service import running_server


async def test_sigterm_tells_every_session_to_reconnect_and_ends_the_process() -> None:
    with running_server() as server:
        async with (
            open_backend(server) as backend,
            listening(server.websocket_url, "test1") as first,
            listening(server.websocket_url, "test2") as second,
            stomp_client(server.websocket_url) as not_connected,
        ):
            await backend.push("test1")
            await first.expect("MESSAGE")

            server.process.send_signal(signal.SIGTERM)

            for client in (first, second, not_connected):
                assert (await client.closed())[0] == 1012
        status = await asyncio.to_thread(server.process.wait, 15)
        assert status in (0, -signal.SIGTERM)


async def test_sigterm_is_logged_and_told_as_a_restart() -> None:
    with running_server() as server:
        async with listening(server.websocket_url, "test1") as client:
            server.process.send_signal(signal.SIGTERM)
            assert await client.closed() == (1012, "service restart")
        await asyncio.to_thread(server.process.wait, 15)
        assert "of test1 closed: service restart" in server.log()


async def test_what_was_accepted_before_sigterm_still_reaches_who_reads_late() -> None:
    with running_server() as server:
        async with open_backend(server) as backend, listening(server.websocket_url, "test1") as client:
            for _ in range(20):
                await backend.push("test1", "x" * 50_000)  # more than the socket and the client take unread

            server.process.send_signal(signal.SIGTERM)

            for _ in range(20):
                await client.expect("MESSAGE")
            assert await client.closed() == (1012, "service restart")
