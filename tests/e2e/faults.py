"""What networks and bad readers do to connections."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.client import StompClient, stomp_client
from tests.service import Server


def cut(client: StompClient) -> None:
    """Closes the socket with a RST: no close frame, no FIN; what was on its way to the client is lost."""
    transport = client.websocket.transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@asynccontextmanager
async def sleeping(server: Server, user: str) -> AsyncIterator[StompClient]:
    """Subscribed to its messages, but until the test reads, no more is taken from the socket than a frame or two."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    async with stomp_client(server.websocket_url, sock=sock, max_queue=1) as client:
        await client.connect(user)
        await client.subscribe()
        yield client
        client.websocket.transport.abort()  # the closing handshake would wait for its turn behind what was not read
