"""Wiring: what is opened is closed, and every setting arrives where it counts."""

import asyncio
from pathlib import Path

import pytest

from app.disconnects import CONNECT_TIMEOUT
from app.errors import ConfigurationError
from app.gateway.routing import AppMessage, DestinationRoutes
from app.runtime.configuration import Extensions
from app.runtime.runtime import open_runtime
from tests.api.service import settings
from tests.clock import FakeClock
from tests.eventually import eventually
from tests.fakes import FakeAuthenticator, FakeTransport
from tests.gateway.conversation import Peer, settle


@pytest.fixture(autouse=True)
def own_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the database of the default settings is."""
    monkeypatch.chdir(tmp_path)


async def test_end_of_the_runtime_ends_every_task_and_session() -> None:
    before = asyncio.all_tasks()
    async with open_runtime(settings()) as runtime:
        peer = Peer(runtime.gateway)
        await peer.connect("test1")
        silent = FakeTransport()
        runtime.gateway.open(silent)
        assert len(asyncio.all_tasks()) > len(before)
    await settle()

    assert peer.close_code == 1012
    assert silent.reason is not None
    assert asyncio.all_tasks() == before


async def test_failure_inside_ends_everything_too() -> None:
    before = asyncio.all_tasks()
    peers = []

    async def fail() -> None:
        async with open_runtime(settings()) as runtime:
            peers.append(Peer(runtime.gateway))
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        await fail()
    await settle()

    assert [peer.close_code for peer in peers] == [1012]
    assert asyncio.all_tasks() == before


async def test_retry_job_and_timer_run() -> None:
    clock = FakeClock()
    extensions = Extensions(authenticator=FakeAuthenticator(), clock=clock)
    async with open_runtime(settings(ack_check_wait_ms=100, ack_retry_interval_ms=100), extensions) as runtime:
        late = FakeTransport()
        runtime.gateway.open(late)
        clock.advance(11)
        for _ in range(100):
            if late.reason is None:
                await asyncio.sleep(0.05)
        assert late.reason is CONNECT_TIMEOUT


async def ended(peer: Peer) -> None:
    await eventually(lambda: peer.over)


async def test_limits_of_a_session_arrive() -> None:
    values = {
        "max_connect_frame_bytes": 200,
        "max_frame_bytes": 400,
        "max_frame_headers": 5,
        "max_header_bytes": 100,
        "max_subscriptions_per_session": 2,
        "max_transactions_per_session": 1,
        "inbound_burst": 10,
        "inbound_frames_per_s": 1,
        "inbound_patience_ms": 1,
        "max_sessions_per_user": 3,
        "heartbeat_send_ms": 111,
        "heartbeat_receive_ms": 222,
        "allow_client_topic_send": False,
    }
    attacks: list[tuple[bytes, str]] = [
        (b"SEND\ndestination:/app/ack\n\n" + b"x" * 500, "frame too large"),
        (b"SEND\n" + b"".join(b"h%d:x\n" % number for number in range(6)) + b"\n\0", "frame too large"),
        (b"SEND\nx:" + b"y" * 100 + b"\n\n\0", "frame too large"),
        (b"".join(b"SUBSCRIBE\nid:%d\ndestination:/topic/a\n\n\0" % n for n in range(3)), "too many subscriptions"),
        (b"BEGIN\ntransaction:1\n\n\0BEGIN\ntransaction:2\n\n\0", "too many transactions"),
        (b"SEND\ndestination:/app/ack\n\nx\0" * 12, "rate limit"),
        (b"SEND\ndestination:/topic/a\n\nx\0", "Not allowed"),
    ]
    async with open_runtime(settings(**values)) as runtime:
        for data, words in attacks:
            peer = Peer(runtime.gateway)
            connected = await peer.connect("test1", **{"heart-beat": "1,1"})
            assert connected.headers["heart-beat"] == "111,222"
            peer.connection.receive(data)
            await ended(peer)
            assert peer.frames()[-1].headers["message"] == words
        big = Peer(runtime.gateway)
        big.connection.receive(b"CONNECT\n" + b"x:y\n" * 60)
        assert big.frame().headers["message"] == "frame too large"
        for _ in range(3):
            await Peer(runtime.gateway).connect("test1")
        assert (await Peer(runtime.gateway).talk("CONNECT", {"passcode": "test1"}))[0].command == "ERROR"


async def test_own_destinations_join_those_of_the_service() -> None:
    routes, heard = DestinationRoutes(), []

    @routes.message("/app/hello")
    def hello(message: AppMessage) -> None:
        heard.append(message.text())

    async with open_runtime(settings(), Extensions(routes=routes)) as runtime:
        peer = Peer(runtime.gateway)
        await peer.connect("test1")
        assert (await peer.talk("SEND", {"destination": "/app/hello", "receipt": "r"}, "hi"))[0].command == "RECEIPT"
        peer.send("SEND", {"destination": "/app/ack", "receipt": "r"}, "x")
        await eventually(lambda: peer.transport.sent)  # once the database has been told
        assert peer.commands() == ["RECEIPT"]
    assert heard == ["hi"]


async def test_destination_of_the_service_cannot_be_taken() -> None:
    routes = DestinationRoutes()
    routes.message("/app/ack")(lambda _: None)

    with pytest.raises(ValueError, match="/app/ack"):
        async with open_runtime(settings(), Extensions(routes=routes)):
            pass


async def test_settings_are_checked_here_too() -> None:
    with pytest.raises(ConfigurationError, match="API_KEYS"):
        async with open_runtime(settings(app_env="prod")):
            pass
