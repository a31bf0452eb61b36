"""A gateway, an application that records messages, and clients."""

import pytest

from app.gateway.routing import AppMessage, DestinationRoutes
from app.stomp.frames import Frame, Version
from tests.gateway.conversation import Peer, Stage, settle

V10, V11, V12 = Version


EVERY_VERSION = pytest.mark.parametrize("version", list(Version))


SINCE_1_1 = pytest.mark.parametrize("version", [V11, V12])


MESSAGES, TOPIC = "/user/queue/msg", "/topic/a"


CONNECT = b"CONNECT\naccept-version:1.2\nhost:stomp.test\nauthorization:Bearer alice\n"


class Notes(DestinationRoutes):
    """An application that records the messages sent to `/app/note`."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.message("/app/note")(self.note)

    def note(self, message: AppMessage) -> None:
        self.bodies.append(message.body)
        self.headers.append(dict(message.headers))


async def connected(stage: Stage, version: Version = V12, user: str = "alice", **headers: str) -> Peer:
    peer = stage.peer(version)
    await peer.connect(user, **headers)
    return peer


async def raw(peer: Peer, data: bytes) -> list[Frame]:
    """Send bytes, and return the frames that the server sends back."""
    peer.connection.receive(data)
    await settle()
    return peer.frames()


async def refusal(peer: Peer, data: bytes) -> Frame:
    """Send bytes, and return the single ERROR frame, after which the connection is closed."""
    (error,) = await raw(peer, data)
    assert error.command == "ERROR", error
    assert peer.over
    return error


async def message_on(peer: Peer, stage: Stage, data: object = "hello") -> Frame:
    """Push a message to the user, and return the frame that the client receives."""
    await stage.push("alice", data)
    return peer.frame()
