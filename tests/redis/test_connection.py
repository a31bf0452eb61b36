"""The connection, with a real server and with one that misbehaves."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hiredis import ReplyError

from app.errors import Unavailable
from app.redis import connection as connection_module
from app.redis.connection import Connection, open_connection, pack
from tests.eventually import eventually
from tests.redis.scripted import OK, ScriptedServer
from tests.valkey import fresh_database, valkey

TIMEOUT_S = 3.0


class Heard:
    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.dropped: list[str] = []
        self.lost: list[Connection] = []

    def note(self, channel: str, payload: bytes) -> None:
        self.messages.append((channel, payload))


@asynccontextmanager
async def opened(
    port: int, heard: Heard | None = None, *, on_message: Callable[[str, bytes], None] | None = None
) -> AsyncIterator[Connection]:
    heard = heard or Heard()
    connection = await open_connection(
        "127.0.0.1",
        port,
        tls=None,
        timeout_s=TIMEOUT_S,
        name="test",
        on_message=on_message or heard.note,
        on_lost=heard.lost.append,
        on_dropped=heard.dropped.append,
    )
    try:
        yield connection
    finally:
        connection.abort()


# Opening


async def test_a_connection_sends_hello_with_its_name() -> None:
    with fresh_database():
        async with opened(valkey().port) as connection:
            assert b"name=test " in await connection.send("CLIENT", "INFO")
            assert await connection.send("ECHO", "消息") == "消息".encode()


async def test_user_password_and_database_are_part_of_the_greeting(scripted: ScriptedServer) -> None:
    connection = await open_connection(
        "127.0.0.1", scripted.port, tls=None, timeout_s=TIMEOUT_S, username="u", password="p", name="n", db=2
    )
    connection.abort()
    assert scripted.commands == [
        [b"HELLO", b"3", b"AUTH", b"u", b"p", b"SETNAME", b"n"],
        [b"SELECT", b"2"],
        [b"PING"],
    ]


async def test_a_password_without_a_user_is_the_default_users(scripted: ScriptedServer) -> None:
    connection = await open_connection("127.0.0.1", scripted.port, tls=None, timeout_s=TIMEOUT_S, password="p")
    connection.abort()
    assert scripted.commands[0] == [b"HELLO", b"3", b"AUTH", b"default", b"p"]


@pytest.mark.parametrize(
    ("verb", "answer", "error"),
    [
        (b"HELLO", b"-WRONGPASS invalid username-password pair\r\n", ReplyError),
        (b"HELLO", b"-ERR unknown command 'HELLO'\r\n", ReplyError),
        (b"PING", b"-LOADING Redis is loading the dataset in memory\r\n", ReplyError),
        (b"HELLO", b"HTTP/1.1 400 Bad Request\r\n", Unavailable),
    ],
)
async def test_a_server_that_refuses_the_greeting_leaves_no_connection(
    scripted: ScriptedServer, verb: bytes, answer: bytes, error: type[Exception]
) -> None:
    scripted.answers[verb] = answer
    with pytest.raises(error):
        await open_connection("127.0.0.1", scripted.port, tls=None, timeout_s=TIMEOUT_S)
    await eventually(lambda: scripted.connections == 0)


@pytest.mark.parametrize("verb", [b"HELLO", b"PING"])
async def test_opening_a_connection_to_a_silent_server_times_out(scripted: ScriptedServer, verb: bytes) -> None:
    scripted.answers[verb] = None
    with pytest.raises(TimeoutError):
        await open_connection("127.0.0.1", scripted.port, tls=None, timeout_s=0.05)
    await eventually(lambda: scripted.connections == 0)


# Commands


async def test_commands_of_one_turn_are_answered_in_their_order() -> None:
    with fresh_database():
        async with opened(valkey().port) as connection:
            replies = [connection.send("ECHO", n) for n in range(100)]
            assert await asyncio.gather(*replies) == [b"%d" % n for n in range(100)]
            assert connection.commands == 102


async def test_an_error_belongs_to_its_command_alone() -> None:
    with fresh_database():
        async with opened(valkey().port) as connection:
            good, bad, after = connection.send("ECHO", "1"), connection.send("NONSENSE"), connection.send("ECHO", "2")
            with pytest.raises(ReplyError, match="unknown command"):
                await bad
            assert (await good, await after) == (b"1", b"2")


async def test_a_cancelled_caller_does_not_shift_the_replies_of_others(scripted: ScriptedServer) -> None:
    async with opened(scripted.port) as connection:
        scripted.answers[b"A"] = b"+a\r\n"
        scripted.answers[b"B"] = b"+b\r\n"
        gone, stays = connection.send("A"), connection.send("B")
        gone.cancel()
        assert await stays == b"b"


async def test_an_answer_that_comes_in_pieces_is_one(scripted: ScriptedServer) -> None:
    async with opened(scripted.port) as connection:
        scripted.answers[b"GET"] = None
        reply = connection.send("GET", "x")
        await eventually(lambda: scripted.verbs[-1] == "GET")
        for byte in b"$5\r\nhe\r\no\r\n":
            scripted.say(bytes([byte]))
            await asyncio.sleep(0)
        assert await reply == b"he\r\no"


async def test_the_end_of_the_connection_ends_all_that_waits(scripted: ScriptedServer) -> None:
    heard = Heard()
    async with opened(scripted.port, heard) as connection:
        scripted.answers |= {b"GET": None, b"SUBSCRIBE": None}
        replies = [connection.send("GET", "x"), connection.change_subscriptions("SUBSCRIBE", ["a"])]
        await eventually(lambda: "GET" in scripted.verbs)
        scripted.writers[0].close()
        for reply in replies:
            with pytest.raises(Unavailable, match="lost") as caught:
                await reply
            assert caught.value.retry_after_s is not None
        assert heard.lost == [connection]
        with pytest.raises(Unavailable, match="away"):
            connection.send("GET", "x")
        connection.pause_reading()
        connection.resume_reading()
        connection.abort()
    assert heard.lost == [connection], "once"


@pytest.mark.parametrize("data", [b"HTTP/1.1 200 OK\r\n", b"\x00\r\n", b":x\r\n", b"+unasked\r\n"])
async def test_invalid_resp_ends_the_connection(scripted: ScriptedServer, data: bytes) -> None:
    heard = Heard()
    async with opened(scripted.port, heard) as connection:
        scripted.say(data)
        await eventually(lambda: connection.lost)
        assert heard.lost == [connection]


async def test_more_than_a_server_keeps_up_with_is_refused(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "MAX_WAITING", 3)
    async with opened(scripted.port) as connection:
        scripted.answers[b"GET"] = None
        for _ in range(3):
            connection.send("GET", "x")
        with pytest.raises(Unavailable, match="too slow"):
            connection.send("GET", "x")
        await eventually(lambda: scripted.verbs.count("GET") == 3)
        scripted.say(OK * 3)
        await eventually(lambda: not connection._waiting)
        await asyncio.wait_for(asyncio.gather(connection.send("PING")), TIMEOUT_S)


async def test_what_a_server_does_not_take_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_UNSENT_BYTES", 1_000_000)
    with fresh_database():
        async with opened(valkey().port) as connection:
            transport = connection._transport
            assert transport is not None
            connection.send("SET", "big", b"x" * 30_000_000)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            with pytest.raises(Unavailable, match="too slow"):
                connection.send("PING")
            await eventually(lambda: not connection._congested)
            assert await connection.send("STRLEN", "big") == 30_000_000


# Silence


async def test_a_server_that_does_not_answer_is_found_out(scripted: ScriptedServer) -> None:
    async with opened(scripted.port) as connection:
        scripted.answers[b"PING"] = None
        assert not connection.is_silent(0.02), "an idle connection is asked"
        await asyncio.sleep(0.03)
        assert connection.is_silent(0.02)
        assert not connection.is_silent(10)
        scripted.say(b"+PONG\r\n")
        await eventually(lambda: not connection.is_silent(0.02))


async def test_a_connection_with_paused_reading_is_not_silent(scripted: ScriptedServer) -> None:
    async with opened(scripted.port) as connection:
        connection.pause_reading()
        reply = connection.send("GET", "x")
        await asyncio.sleep(0.03)
        assert not connection.is_silent(0.02)
        connection.resume_reading()
        assert not connection.is_silent(0.02)
        assert await reply == b"OK"


# Subscriptions


async def test_what_is_published_comes_in_its_order_among_the_answers() -> None:
    heard = Heard()
    with fresh_database():
        async with opened(valkey().port, heard) as connection:
            await connection.change_subscriptions("SUBSCRIBE", ["a", "b"])
            for n in range(3):
                await connection.send("PUBLISH", "a", n)
                assert heard.messages[-1] == ("a", b"%d" % n), "before the answer"
            await connection.change_subscriptions("UNSUBSCRIBE", ["a"])
            assert await connection.send("PUBLISH", "a", "x") == 0
            assert len(heard.messages) == 3


async def test_sharded_channels_are_heard_too() -> None:
    heard = Heard()
    with fresh_database():
        async with opened(valkey().port, heard) as connection:
            await connection.change_subscriptions("SSUBSCRIBE", ["a"])
            await connection.send("SPUBLISH", "a", "x")
            assert heard.messages == [("a", b"x")]


async def test_a_subscription_ended_by_the_server_is_reported(scripted: ScriptedServer) -> None:
    heard = Heard()
    async with opened(scripted.port, heard):
        scripted.say(b">3\r\n$12\r\nsunsubscribe\r\n$1\r\na\r\n:0\r\n")
        await eventually(lambda: heard.dropped == ["a"])


async def test_a_subscription_that_is_refused_is_an_error(scripted: ScriptedServer) -> None:
    async with opened(scripted.port) as connection:
        scripted.answers[b"SSUBSCRIBE"] = b"-MOVED 1 127.0.0.1:7000\r\n"
        with pytest.raises(ReplyError, match="MOVED"):
            await connection.change_subscriptions("SSUBSCRIBE", ["a"])
        assert await connection.send("PING") == b"PONG"


async def test_a_message_that_cannot_be_handled_does_not_end_the_stream(
    scripted: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(channel: str, payload: bytes) -> None:
        raise ValueError(payload)

    async with opened(scripted.port, on_message=fail) as connection:
        scripted.say(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$6\r\nsEcret\r\n")
        await eventually(lambda: "a message on" in caplog.text)
        assert not connection.lost
        assert await connection.send("PING") == b"PONG"


async def test_pushes_of_other_kinds_are_passed_over(
    scripted: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()
    with caplog.at_level(logging.WARNING):
        async with opened(scripted.port, heard) as connection:
            scripted.say(b">2\r\n$10\r\ninvalidate\r\n*0\r\n")
            assert await connection.send("PING") == b"PONG"
    assert (heard.messages, heard.dropped, caplog.text) == ([], [], "")


# Replies passed on in stream order


async def test_a_reply_is_shown_in_its_place_among_what_is_published(scripted: ScriptedServer) -> None:
    seen: list[object] = []
    async with opened(scripted.port, on_message=lambda channel, payload: seen.append(payload)) as connection:
        scripted.answers[b"EVAL"] = (
            b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$6\r\nbefore\r\n"
            b"$5\r\nreply\r\n"
            b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nafter\r\n"
        )
        done = connection.send_packed(pack("EVAL"), seen.append)
        done.add_done_callback(lambda done: seen.append("awaited"))
        assert await done == b"reply"
    assert seen == [b"before", b"reply", b"after", "awaited"]


async def test_an_error_is_not_shown(scripted: ScriptedServer) -> None:
    seen: list[object] = []
    async with opened(scripted.port) as connection:
        scripted.answers[b"EVAL"] = b"-ERR no\r\n"
        with pytest.raises(ReplyError, match="no"):
            await connection.send_packed(pack("EVAL"), seen.append)
    assert seen == []


async def test_a_reply_that_cannot_be_handled_ends_nothing(
    scripted: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(reply: object) -> None:
        raise ValueError("a defect")

    async with opened(scripted.port) as connection:
        scripted.answers[b"EVAL"] = b":7\r\n"
        first, second = connection.send_packed(pack("EVAL"), fail), connection.send("EVAL")
        assert [await first, await second] == [7, 7]
        assert not connection.lost
    assert "the callback of a Redis reply failed" in caplog.text


async def test_a_reply_is_passed_on_after_its_future_was_cancelled(scripted: ScriptedServer) -> None:
    """The script was executed, and this callback is the only way for its result to reach sessions of this node."""
    seen: list[object] = []
    async with opened(scripted.port) as connection:
        scripted.answers[b"EVAL"] = b":7\r\n"
        connection.send_packed(pack("EVAL"), seen.append).cancel()
        await connection.send("PING")
    assert seen == [7]


async def test_observed_commands_fail_when_the_connection_ends(scripted: ScriptedServer) -> None:
    seen: list[object] = []
    async with opened(scripted.port) as connection:
        scripted.answers[b"EVAL"] = None
        done = connection.send_packed(pack("EVAL"), seen.append)
        connection.abort()
        with pytest.raises(Unavailable):
            await done
    assert seen == []
