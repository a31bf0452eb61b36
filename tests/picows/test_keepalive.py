"""Pings, and peers that do not respond."""

import asyncio
from typing import cast

import pytest

from app.picows.keepalive import Keepalive, KeepaliveTimer
from tests.eventually import eventually
from tests.frames import PING, PONG, TEXT, masked, raw_client
from tests.picows.application import Application, echo, raw, sink
from tests.transports.serving import serving


async def test_connection_with_traffic_both_ways_is_not_pinged() -> None:
    async with raw(echo, ws_ping_interval=0.2, ws_ping_timeout=0.2) as (_, client):
        for _ in range(20):
            await client.send(masked(TEXT, b"hello"))
            assert await client.receive() == (TEXT, b"hello")
            await asyncio.sleep(0.05)


async def test_peer_that_only_sends_is_pinged() -> None:
    async with raw(sink, ws_ping_interval=0.1, ws_ping_timeout=0.2) as (_, client):
        kinds = []
        for _ in range(4):
            await client.send(masked(TEXT, b"hello"))
            kinds.append((await client.receive())[0])
        assert kinds == [PING] * 4  # data of the peer counts as a pong


async def test_silent_peer_is_closed_with_1011() -> None:
    async with raw(ws_ping_interval=0.05, ws_ping_timeout=0.05) as (_, client):
        for _ in range(3):
            opcode, data = await client.receive()
            assert opcode == PING
            await client.send(masked(PONG, data))
        assert await client.closed() == 1011


async def test_connection_that_opens_after_all_others_have_closed_is_pinged() -> None:
    async with serving(Application(echo), ws_ping_interval=0.1, ws_ping_timeout=None) as port:
        for _ in range(2):
            async with raw_client(port) as one, raw_client(port) as other:
                assert [(await client.receive())[0] for client in (one, other, one)] == [PING] * 3
            await asyncio.sleep(0.3)


class FakeKeepalive:
    """Counts how often it is due, every 20 ms. With `fails` it raises the first time, and is not due again."""

    def __init__(self, timer: KeepaliveTimer, fails: bool) -> None:
        self.timer = timer
        self.fails = fails
        self.count = 0
        timer.add(cast(Keepalive, self), 0.02)

    def act(self) -> None:
        self.count += 1
        if self.fails:
            raise RuntimeError("a defect")
        self.timer.add(cast(Keepalive, self), 0.02)


async def test_failure_of_one_ping_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    timer = KeepaliveTimer(0.05, None)
    fakes = [FakeKeepalive(timer, fails=number == 1) for number in range(4)]
    await eventually(lambda: min(fake.count for fake in fakes if not fake.fails) >= 3)
    assert fakes[1].count == 1
    assert [record.message for record in caplog.records] == ["a connection could not be kept alive"]


async def test_peer_in_mid_frame_on_a_slow_line_is_not_silent() -> None:
    # it cannot send a pong inside a frame
    async with raw(ws_ping_interval=0.2, ws_ping_timeout=0.2) as (_, client):
        frame = masked(TEXT, b"x" * 100)
        for byte in range(len(frame)):
            await client.send(frame[byte : byte + 1])
            await asyncio.sleep(0.01)
        while (received := await client.receive()) == (PING, b""):
            pass
        assert received == (TEXT, b"x" * 100)
