"""A new session of a device ends the older one; what the older one was at is done or dropped before."""

import asyncio

import pytest

from app.cluster.presence.memory import MemoryPresence
from app.gateway.routing import AppMessage, DestinationRoutes
from app.stomp.frames import Frame, Version
from tests.gateway.conversation import Peer, Stage, settle

PHONE = {"client-id": "phone"}


class Handlers(DestinationRoutes):
    """What came and what was done, in order; `/app/slow` waits for the gate, and `/app/deaf` for cancellations too."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.log: list[str] = []
        self.message("/app/slow")(self.slow)
        self.message("/app/deaf")(self.deaf)

    async def slow(self, message: AppMessage) -> None:
        try:
            await self.gate.wait()
            self.log.append(f"done {message.text()}")
        except asyncio.CancelledError:
            self.log.append(f"dropped {message.text()}")
            raise

    async def deaf(self, message: AppMessage) -> None:
        while not self.gate.is_set():
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.log.append("deaf")


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
def stage(handlers: Handlers) -> Stage:
    return Stage(routes=handlers, max_sessions_per_user=1)


async def connecting(stage: Stage, **headers: str) -> Peer:
    peer = stage.peer()
    peer.send("CONNECT", {"accept-version": "1.2", "Authorization": "Bearer alice"} | headers)
    await settle()
    return peer


async def refused(stage: Stage, headers: dict[str, str], version: Version = Version.V12) -> tuple[Peer, Frame]:
    peer = stage.peer(version)
    (error,) = await peer.talk("CONNECT", {"accept-version": str(version), "passcode": "alice"} | headers)
    assert error.command == "ERROR"
    return peer, error


# The header


@pytest.mark.parametrize("client_id", ["x", "!~", "a:b", "x" * 64])
async def test_a_client_id_is_1_to_64_visible_ascii_characters(client_id: str, stage: Stage) -> None:
    await stage.connected(**{"client-id": client_id})
    assert next(iter(stage.hub)).client_id == client_id


@pytest.mark.parametrize("client_id", ["", " ", "a b", "x" * 65, "é", "x\x7f", "x\t", "消息"])
async def test_any_other_client_id_is_refused_with_the_rule(client_id: str, stage: Stage) -> None:
    peer, error = await refused(stage, {"client-id": client_id})
    assert b"client-id is" in error.body
    assert b"1 to 64 visible ASCII characters were expected" in error.body
    assert (peer.close_code, len(stage.gateway)) == (4501, 0)


async def test_without_the_header_the_limit_is_what_it_was(stage: Stage) -> None:
    peer = await stage.connected()
    assert next(iter(stage.hub)).client_id is None
    other, _ = await refused(stage, {})
    assert (peer.over, other.close_code) == (False, 4504)


# The older session


async def test_the_older_session_is_ended_for_good_and_does_not_count(stage: Stage) -> None:
    older = await stage.connected(**PHONE)
    await older.subscribe("/user/queue/msg")
    message_id = await stage.push("alice")
    assert stage.acks.open_records == 1
    newer = await stage.connected(**PHONE)
    assert (older.close_code, stage.acks.open_records, len(stage.hub)) == (4505, 0, 1)
    assert not older.transport.reason.may_reconnect  # type: ignore[union-attr]
    await newer.subscribe("/topic/a")
    _, again = await newer.talk("SUBSCRIBE", {"id": "0", "destination": "/user/queue/msg", "receipt": "r"})
    assert again.headers["message-id"] == message_id


@pytest.mark.parametrize(("user", "client_id"), [("bob", "phone"), ("alice", "desk")])
async def test_other_devices_and_other_users_are_not_concerned(user: str, client_id: str) -> None:
    stage = Stage()
    peer = await stage.connected(**PHONE)
    await stage.connected(user, **{"client-id": client_id})
    assert not peer.over


async def test_a_device_whose_session_has_ended_starts_anew(stage: Stage) -> None:
    first = await stage.connected(**PHONE)
    first.connection.closed()
    second = await stage.connected(**PHONE)
    third = await stage.connected(**PHONE)
    assert (second.close_code, third.over) == (4505, False)
    other, _ = await refused(stage, {"client-id": "desk"})
    assert other.close_code == 4504


async def test_a_session_that_another_node_has_replaced_is_ended(stage: Stage) -> None:
    peer = await stage.connected(**PHONE)
    stage.presence.on_replaced(next(iter(stage.hub)).id)
    stage.presence.on_replaced("none of this node")
    assert (peer.close_code, len(stage.hub)) == (4505, 0)


# What the older one was at


async def test_what_a_live_session_was_at_is_dropped_before_the_newer_one_is_there(
    stage: Stage, handlers: Handlers
) -> None:
    older = await stage.connected(**PHONE)
    older.send("SEND", {"destination": "/app/slow"}, "a")
    older.send("SEND", {"destination": "/app/slow"}, "b")
    newer = await connecting(stage, **PHONE)
    assert (older.close_code, handlers.log) == (4505, ["dropped a"])
    assert newer.commands() == ["CONNECTED"]


async def test_what_was_sent_by_a_client_that_has_gone_is_done_before_the_newer_one_is_there(
    stage: Stage, handlers: Handlers
) -> None:
    older = await stage.connected(**PHONE)
    older.send("SEND", {"destination": "/app/slow"}, "a")
    older.connection.closed()
    newer = await connecting(stage, **PHONE)
    assert (newer.commands(), handlers.log) == ([], [])
    handlers.gate.set()
    await settle()
    assert (newer.commands(), handlers.log) == (["CONNECTED"], ["done a"])


async def test_what_takes_too_long_is_dropped_though_the_client_has_gone(
    stage: Stage, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gateway.connection.RETIRE_S", 0.01)
    older = await stage.connected(**PHONE)
    older.send("SEND", {"destination": "/app/slow"}, "a")
    older.send("SEND", {"destination": "/app/slow"}, "b")
    older.connection.closed()
    newer = await connecting(stage, **PHONE)
    await asyncio.sleep(0.05)
    assert (newer.commands(), handlers.log) == (["CONNECTED"], ["dropped a"])
    assert len(stage.gateway) == 1


async def test_a_handler_that_cannot_be_ended_keeps_nobody_out(
    stage: Stage, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gateway.connection.RETIRE_S", 0.01)
    older = await stage.connected(**PHONE)
    await older.talk("SEND", {"destination": "/app/deaf"})
    newer = await connecting(stage, **PHONE)
    await asyncio.sleep(0.1)
    assert (older.close_code, newer.commands(), handlers.log) == (4505, ["CONNECTED"], ["deaf"])
    handlers.gate.set()
    await settle()


# Several at once


async def test_of_many_that_come_at_once_the_last_stays(stage: Stage) -> None:
    peers = [stage.peer() for _ in range(5)]
    for peer in peers:
        peer.send("CONNECT", {"accept-version": "1.2", "Authorization": "Bearer alice"} | PHONE)
    await settle()
    assert [peer.close_code for peer in peers] == [4505] * 4 + [None]
    assert (len(stage.gateway), len(stage.hub)) == (1, 1)


async def test_one_that_still_waits_for_its_place_is_replaced_too(stage: Stage, handlers: Handlers) -> None:
    first = await stage.connected(**PHONE)
    first.send("SEND", {"destination": "/app/slow"}, "a")
    first.connection.closed()
    waits = await connecting(stage, **PHONE)
    newest = await connecting(stage, **PHONE)
    assert (waits.close_code, newest.commands()) == (4505, ["CONNECTED"])
    assert [session.id for session in stage.hub] == [*stage.presence._users["alice"]]  # type: ignore[attr-defined]
    handlers.gate.set()
    await settle()
    assert len(stage.hub) == len(stage.gateway) == 1


class LatePresence(MemoryPresence):
    """Says only when the gate opens what it has replaced long before."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def join(self, user: str, session_id: str, limit: int, client_id: str | None = None) -> str | None:
        replaced = await super().join(user, session_id, limit, client_id)
        await self.gate.wait()
        return replaced


async def test_one_that_was_replaced_before_it_was_told_that_it_is_counted_never_opens() -> None:
    presence = LatePresence()
    stage = Stage(presence=presence)
    presence.gate.clear()
    first, second = await connecting(stage, **PHONE), await connecting(stage, **PHONE)
    presence.gate.set()
    await settle()
    assert (first.close_code, second.commands()) == (4505, ["CONNECTED"])
    assert len(stage.hub) == len(stage.gateway) == 1
