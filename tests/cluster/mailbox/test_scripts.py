"""The mailbox scripts on a real server, with their own data and with data of other programs."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError, ResponseError

from app.cluster.scripts import ACKNOWLEDGE, CATCH_UP, PUT, READ, REFRESH
from app.redis.scripts import Script
from tests.valkey import Valkey, calls, running_valkey

INBOX, FULL_MARK, LOG, HEAD, KNOWN, ACKNOWLEDGED, CHANNEL = (
    f"{name}::{{ann}}" for name in ("inbox", "full", "log", "head", "known", "acknowledged", "channel")
)
RING = [f"messages::{n}" for n in range(8)]
GARBAGE = ["", "garbage", "12", "1 2", "1 2 3 4 5 6", "x y z 0 0", "-5 7 8 9 0", "1e3 0 0 0 0"]


def run(server: Valkey, script: Script, keys: list[str], *arguments: str | int) -> Any:
    return server.command("EVAL", script.source, len(keys), *keys, *arguments)


def text(id: str, *, persisted: bool = False, data: Any = "x") -> str:
    """Return a message in the format of `encode_envelope`."""
    message = {"id": id, "type": "STRING_MSG", "receiver": "ann", "data": data, "viewed": False, "created": 5}
    rest = {"ack_retry_count": 0, "ack_last_sent": 0, "acknowledged": True, "persisted": persisted}
    return json.dumps(message | rest, separators=(",", ":"))


def item(
    id: str = "m1",
    *,
    ttl_ms: int = 60_000,
    keep: str = "always",
    persisted: bool = False,
    data: Any = "x",
    kind: str = "new",
    digest: str = "",
) -> list[str | int]:
    """Return the arguments of one message."""
    return [id, text(id, persisted=persisted, data=data)[:-1], ttl_ms, keep, kind, digest, f"{id} is "]


def put_all(
    server: Valkey, *users: list[list[str | int]], most: int = 300, window_ms: int = 60_000, own: int = 0
) -> list[tuple[Any, ...]]:
    """Put messages for ann, and for other users by number. `own`: whether the node says that it listens."""
    keys = [*RING]
    heads: list[str | int] = []
    for number, items in enumerate(users):
        keys += [of_user(key, number) for key in (INBOX, FULL_MARK, LOG, HEAD, ACKNOWLEDGED)]
        keys += [of_user(f"{KNOWN}::{item[0]}", number) for item in items if item[4] == "given"]
        heads += [of_user(CHANNEL, number), own, len(items)]
    arguments = [argument for items in users for item in items for argument in item]
    reply = run(
        server, PUT, keys, "PUBLISH", "head\n", most, window_ms, 600_000, len(RING), len(users), *heads, *arguments
    )  # fmt: skip
    return [tuple(reply[start : start + 5]) for start in range(0, len(reply), 5)]


def of_user(key: str, number: int) -> str:
    return key.replace("ann", f"ann{number}") if number else key


def put(
    server: Valkey,
    id: str = "m1",
    *,
    ttl_ms: int = 60_000,
    most: int = 300,
    keep: str = "always",
    persisted: bool = False,
    data: Any = "x",
    window_ms: int = 60_000,
    kind: str = "new",
    digest: str = "",
) -> Any:
    """Put one message and return (listening nodes, kept, seq, previous), and the time of its acknowledgement if any.

    For a message that is not accepted, return (-1, digest) or (-2,).
    """
    one = item(id, ttl_ms=ttl_ms, keep=keep, persisted=persisted, data=data, kind=kind, digest=digest)
    ((heard, kept, seq, previous, acked_ms),) = put_all(server, [one], most=most, window_ms=window_ms)
    if heard < 0:
        return (heard, kept) if heard == -1 else (heard,)
    return (heard, kept, seq, previous, acked_ms) if acked_ms else (heard, kept, seq, previous)


def seq_of(placed: Any) -> int:
    seq: int = placed[2]
    return seq


def put_many(server: Valkey, *ids: str) -> list[int]:
    return [seq_of(put(server, id)) for id in ids]


def catch_up(server: Valkey, cursor: int, most: int = 1_000_000) -> tuple[Any, ...]:
    """Return (kind, head, more, ids), or ("lost", head)."""
    kind, head, *rest = run(server, CATCH_UP, [LOG, HEAD, INBOX], cursor, most)
    if not rest:
        return kind, head
    more, entries, now_ms = rest
    assert abs(now_ms - time.time_ns() // 1_000_000) < 1_000
    return kind, int(head), more, [json.loads(one)["id"] for one in entries]


def read(server: Valkey, most: int = 1_000_000, logged: int = 300) -> tuple[int, str, int, list[Any], list[str]]:
    """Return (head, mark, complete, ids or sizes, ids of the log)."""
    keys = [INBOX, LOG, HEAD, ACKNOWLEDGED]
    head, mark, complete, values, stored, now_ms = run(server, READ, keys, most, logged)
    assert abs(now_ms - time.time_ns() // 1_000_000) < 1_000
    waiting = [json.loads(value)["id"] for value in values] if complete else values
    return int(head), mark, complete, waiting, [json.loads(value)["id"] for value in stored]


def acknowledge(server: Valkey, *ids: str, remember_ms: int = 60_000, most: int = 100) -> Any:
    return run(server, ACKNOWLEDGE, [INBOX, ACKNOWLEDGED, LOG, HEAD], remember_ms, most, len(ids), *ids)


def entry(server: Valkey, id: str) -> Any:
    return json.loads(str(server.command("HGET", INBOX, id)))


def log(server: Valkey) -> list[Any]:
    return [json.loads(one) for one in server.command("LRANGE", LOG, 0, -1)]


def log_ids(server: Valkey) -> list[str]:
    return [one["id"] for one in log(server)]


def head(server: Valkey) -> tuple[int, int]:
    """Return (seq, floor)."""
    seq, floor, *_ = str(server.command("GET", HEAD)).split()
    return int(seq), int(floor)


def unread(server: Valkey) -> int:
    return int(str(server.command("GET", HEAD)).split()[3])


def ttl_ms(server: Valkey, key: str = INBOX) -> int:
    return int(server.command("PTTL", key))


def ids(server: Valkey) -> set[str]:
    return {str(id) for id in server.command("HKEYS", INBOX)}


def state(server: Valkey) -> list[Any]:
    return [
        server.command("HGETALL", INBOX),
        server.command("LRANGE", LOG, 0, -1),
        server.command("GET", HEAD),
        server.command("KEYS", f"{KNOWN}*"),
    ]


@pytest.fixture
def full_server() -> Iterator[Valkey]:
    """Yield a server of its own, whose memory a test may limit."""
    with running_valkey() as server:
        yield server


# Put


def test_a_message_is_kept_with_when_it_was_accepted_and_when_it_expires(server: Valkey) -> None:
    before_us = time.time_ns() // 1_000
    heard, kept, seq, previous = put(server)
    assert (heard, kept, previous) == (0, 1, 0)
    assert before_us - 1_000 <= seq <= time.time_ns() // 1_000 + 1_000
    stored = entry(server, "m1")
    assert stored["expires_ms"] // 1_000 - 60 == pytest.approx(time.time(), abs=2)
    assert (stored["id"], stored["accepted"], stored["previous"], stored["unsent"]) == ("m1", seq, 0, True)
    assert log(server) == [
        {"id": "m1", "accepted": seq, "previous": 0, "waits": True, "expires_ms": stored["expires_ms"]}
    ]
    assert head(server) == (seq, 0)


def test_what_is_published_is_what_the_log_has_and_the_inbox(server: Valkey) -> None:
    with server.client().pubsub() as ear:  # type: ignore[no-untyped-call]
        ear.subscribe(CHANNEL)
        assert ear.get_message(timeout=5)["type"] == "subscribe"
        assert put(server)[0] == 1
        heard = json.loads(ear.get_message(timeout=5)["data"].removeprefix("head\n"))
    assert [heard] == log(server) == [entry(server, "m1")]
    assert "unsent" not in heard


def test_each_message_has_the_seq_of_the_one_before_it(server: Valkey) -> None:
    placed = [put(server, f"m{n}", keep="never" if n % 2 else "always") for n in range(20)]
    assert [previous for *_, previous in placed] == [0, *(seq_of(one) for one in placed[:-1])]
    assert [one["previous"] for one in log(server)] == [previous for *_, previous in placed]
    assert head(server) == (seq_of(placed[-1]), 0)


def test_seq_goes_on_where_the_clock_of_the_server_steps_back(server: Valkey) -> None:
    future = time.time_ns() // 1_000 + 3_600_000_000
    server.command("SET", HEAD, f"{future} 5 0 0 0")
    first, second = put(server, "m1"), put(server, "m2")
    assert (first[2:], second[2:]) == ((future + 1, future), (future + 2, future + 1))
    assert head(server) == (future + 2, future)
    assert catch_up(server, future) == ("same", future + 2, 0, ["m1", "m2"])


def test_the_inbox_lives_as_long_as_its_newest_message_may(server: Valkey) -> None:
    """It lives a little longer, so that the next message need not prolong it."""
    put(server, "long", ttl_ms=60_000)
    put(server, "short", ttl_ms=1_000)
    assert 60_000 <= ttl_ms(server) <= 66_000
    before = ttl_ms(server)
    put(server, "next", ttl_ms=60_000)
    assert ttl_ms(server) <= before
    put(server, "longer", ttl_ms=90_000)
    assert 90_000 <= ttl_ms(server) <= 99_000
    put(server, "longest", ttl_ms=900_000)
    assert 900_000 <= ttl_ms(server) <= 910_000


def test_the_log_lives_for_its_window_and_the_head_for_an_hour(server: Valkey) -> None:
    put(server, window_ms=5_000)
    assert 5_000 <= ttl_ms(server, LOG) + 500 <= 6_000
    assert 3_590_000 < ttl_ms(server, HEAD) <= 3_600_000
    put(server, window_ms=7_200_000)
    assert 7_190_000 < ttl_ms(server, HEAD) <= 7_200_000


@pytest.mark.parametrize("keep", ["always", "unheard"])
def test_a_message_whose_time_is_over_leaves_nothing_in_the_inbox(server: Valkey, keep: str) -> None:
    """A key without a TTL would never expire."""
    put(server, ttl_ms=-1_000, keep=keep, kind="given", digest="1")
    assert server.command("EXISTS", INBOX) == 0
    assert ttl_ms(server, f"{KNOWN}::m1") <= 1


def test_a_foreign_inbox_without_a_ttl_gets_one(server: Valkey) -> None:
    server.command("HSET", INBOX, "foreign", "garbage")
    put(server)
    assert 0 < ttl_ms(server) <= 66_000


@pytest.mark.parametrize("garbage", ["", "garbage", '{"expires_ms":"x"}', '{"expires_ms":-5}', '{"expires_ms":1e99}'])
def test_garbage_in_an_inbox_counts_as_expired(server: Valkey, garbage: str) -> None:
    server.command("HSET", INBOX, "g1", garbage, "g2", garbage)
    put(server, "g1", most=3)
    put(server, "m1", most=3)
    put(server, "m2", most=3)
    assert ids(server) == {"g1", "m1", "m2"}


def test_a_full_inbox_drops_what_has_expired_and_refuses_what_then_has_no_room(server: Valkey) -> None:
    put(server, "long")
    server.command("HSET", INBOX, "old", '{"expires_ms":1}')
    put(server, "m1", most=2)
    before = state(server)
    for keep in ("always", "unheard"):
        assert put(server, "m2", most=2, keep=keep, kind="given", digest="1") == (-2,)
    assert (state(server), ids(server)) == (before, {"long", "m1"})


def test_a_full_inbox_is_searched_at_most_once_a_second(server: Valkey) -> None:
    """The search is slow, and callers may keep pushing to an offline user."""
    put(server, "m1", most=1)
    assert put(server, "m2", most=1) == (-2,)
    assert 0 < ttl_ms(server, FULL_MARK) <= 1_000
    searched = calls("hgetall")
    server.command("HSET", INBOX, "m1", '{"expires_ms":1}')
    assert put(server, "m2", most=1) == (-2,)
    assert calls("hgetall") == searched
    server.command("DEL", FULL_MARK)
    assert put(server, "m2", most=1)[1] == 1


def test_what_is_refused_or_known_is_not_published(server: Valkey) -> None:
    with server.client().pubsub() as ear:  # type: ignore[no-untyped-call]
        ear.subscribe(CHANNEL)
        assert ear.get_message(timeout=5)["type"] == "subscribe"
        put(server, "m1", most=1, kind="given", digest="17")
        assert put(server, "m2", most=1) == (-2,)
        assert put(server, "m1", most=1, kind="given", digest="18") == (-1, "17")
        assert put(server, "m3", most=1, keep="never")[:2] == (1, 0)
        assert put(server, "m3", keep="never", kind="again") == (-1, "")
        put(server, "m4", most=1, keep="unheard")
        heard = [json.loads(ear.get_message(timeout=5)["data"].removeprefix("head\n"))["id"] for _ in range(3)]
        assert ear.get_message(timeout=0.05) is None
    assert heard == log_ids(server) == ["m1", "m3", "m4"]
    assert ids(server) == {"m1"}


def test_a_message_that_may_have_been_accepted_is_known_by_its_whole_id(server: Valkey) -> None:
    put(server, "m12", persisted=True, keep="never", kind="again")
    put(server, "data", data='{"id":"m1"')
    for id in ("m1", "m", "12"):
        assert put(server, id, persisted=True, keep="never", kind="again")[1] == 0
    assert put(server, "m12", persisted=True, keep="never", kind="again") == (-1, "")


def test_the_log_is_searched_once_for_all_messages_of_a_user(server: Valkey) -> None:
    for n in range(120):
        put(server, f"m{n}", keep="never")
    before = calls("lrange")
    again = [item(id, keep="never", kind="again") for id in ("m0", "m49", "new", "m50", "m119", "new", "other")]
    assert [one[0] for one in put_all(server, again)] == [-1, -1, 0, -1, -1, -1, 0]
    assert calls("lrange") - before == 3, "in parts of 50 entries, so that large ones do not fill the memory"


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 100])
def test_a_log_of_any_length_is_searched_to_its_end(server: Valkey, count: int) -> None:
    for n in range(count):
        put(server, f"m{n}", keep="never")
    again = [item(f"m{n}", keep="never", kind="again") for n in range(min(count, 99) + 1)]
    expected = [-1] * len(again) if count == 100 else [-1] * count + [0]
    assert [one[0] for one in put_all(server, again)] == expected


@pytest.mark.parametrize("kind", ["stored", "again"])
def test_a_message_that_was_acknowledged_before_it_is_put_says_when(server: Valkey, kind: str) -> None:
    """The entry then has a longer tail, which is still parsed."""
    put(server, "m1")
    acknowledge(server, "m3")
    before_ms = time.time_ns() // 1_000_000
    *_, acked_ms = put(server, "m3", persisted=True, keep="never", kind=kind)
    assert abs(acked_ms - before_ms) < 10_000
    assert json.loads(server.command("LINDEX", LOG, -1))["acked"] == acked_ms
    put(server, "m4")
    assert catch_up(server, 0)[3] == ["m1", "m3", "m4"]


def test_times_are_whole_numbers_also_in_their_first_microseconds(server: Valkey) -> None:
    """Six digits for the microseconds: 1.000042 s is not 1.42 s."""
    stamps = [str(seq) for seq in put_many(server, *(f"m{n}" for n in range(50)))]
    assert {len(stamp) for stamp in stamps} == {16}
    assert stamps == sorted(stamps)


# Batches


def test_messages_of_one_user_are_one_step_in_their_order(server: Valkey) -> None:
    before = calls("rpush"), calls("hset"), calls("set")
    placed = put_all(server, [item(f"m{n}", keep="never" if n == 1 else "always") for n in range(3)])
    assert (calls("rpush") - before[0], calls("hset") - before[1], calls("set") - before[2]) == (1, 2, 1)
    assert [kept for _, kept, *_ in placed] == [1, 0, 1]
    assert [seq - seq_of(placed[0]) for *_, seq, _, _ in placed] == [0, 1, 2]
    assert [previous for *_, previous, _ in placed] == [0, seq_of(placed[0]), seq_of(placed[1])]
    assert (log_ids(server), ids(server)) == (["m0", "m1", "m2"], {"m0", "m2"})
    assert head(server) == (seq_of(placed[2]), 0)
    assert unread(server) == seq_of(placed[0])


def test_each_user_has_an_order_and_a_limit_of_their_own(server: Valkey) -> None:
    placed = put_all(server, [item("a"), item("b"), item("c")], [item("d")], [], [item("e", keep="never")], most=2)
    assert [kept if heard == 0 else heard for heard, kept, *_ in placed] == [1, 1, -2, 1, 0]
    assert [one[3] for one in placed] == [0, seq_of(placed[0]), 0, 0, 0]
    assert server.command("HKEYS", of_user(INBOX, 1)) == ["d"]
    assert server.command("LLEN", of_user(LOG, 3)) == 1
    assert server.command("EXISTS", of_user(LOG, 2)) == 0


def test_a_full_inbox_makes_room_for_as_many_as_have_expired(server: Valkey) -> None:
    server.command("HSET", INBOX, "old1", '{"expires_ms":1}', "old2", '{"expires_ms":1}')
    placed = put_all(server, [item(f"m{n}") for n in range(4)], most=3)
    assert [heard for heard, *_ in placed] == [0, 0, 0, -2]
    assert ids(server) == {"m0", "m1", "m2"}


def test_an_id_that_comes_twice_at_once_is_known_the_second_time(server: Valkey) -> None:
    given = [item("m1", kind="given", digest=digest) for digest in ("17", "18")]
    again = [item("m2", keep="never", persisted=True, kind="again") for _ in range(2)]
    accepted, known, stored, found = put_all(server, [*given, *again])
    assert (accepted[0], known[:2], stored[0], found[:2]) == (0, (-1, "17"), 0, (-1, ""))
    assert log_ids(server) == ["m1", "m2"]


def test_keys_of_one_user_that_cannot_be_used_end_the_script_before_that_user(server: Valkey) -> None:
    """The users before it are accepted; the caller sends the others again."""
    for key in (HEAD, LOG, INBOX):
        server.command("FLUSHALL")
        server.command("LPUSH" if key == HEAD else "SET", of_user(key, 1), "garbage")
        placed = put_all(server, [item("m1"), item("m2")], [item("m3"), item("m4")], [item("m5")])
        assert [heard for heard, *_ in placed] == [0, 0]
        assert log_ids(server) == ["m1", "m2"]
        assert server.command("EXISTS", of_user(LOG, 2)) == 0
        server.command("RENAME", of_user(key, 1), key)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            put_all(server, [item("m3"), item("m4")], [item("m5")])
        assert server.command("EXISTS", of_user(LOG, 1)) == 0


def test_each_message_is_published_to_the_nodes_that_listen(server: Valkey) -> None:
    with server.client().pubsub() as ear:  # type: ignore[no-untyped-call]
        ear.subscribe(CHANNEL, of_user(CHANNEL, 1))
        for _ in range(2):
            assert ear.get_message(timeout=5)["type"] == "subscribe"
        placed = put_all(server, [item("m1"), item("m2")], [item("m3")], [item("m4")])
        assert [heard for heard, *_ in placed] == [1, 1, 1, 0]
        heard = [json.loads(ear.get_message(timeout=5)["data"].removeprefix("head\n"))["id"] for _ in range(3)]
    assert heard == ["m1", "m2", "m3"]


def test_nothing_is_published_where_the_node_that_asks_is_the_only_one_that_listens(server: Valkey) -> None:
    with server.client().pubsub() as own, server.client().pubsub() as other:  # type: ignore[no-untyped-call]
        own.subscribe(CHANNEL)
        assert own.get_message(timeout=5)["type"] == "subscribe"
        before = calls("publish")
        assert put_all(server, [item("m1")], own=1)[0][:2] == (1, 1)
        assert calls("publish") == before
        other.subscribe(CHANNEL)
        assert other.get_message(timeout=5)["type"] == "subscribe"
        assert put_all(server, [item("m2")], own=1)[0][0] == 2
        assert json.loads(other.get_message(timeout=5)["data"].removeprefix("head\n"))["id"] == "m2"


def test_acknowledgements_of_many_users_end_at_keys_that_cannot_be_used(server: Valkey) -> None:
    put_all(server, [item("m1"), item("m2")], [item("m3")], [item("m4")])
    server.command("SET", of_user(ACKNOWLEDGED, 2), "garbage")
    keys = [of_user(key, n) for n in range(3) for key in (INBOX, ACKNOWLEDGED, LOG, HEAD)]
    assert run(server, ACKNOWLEDGE, keys, 60_000, 100, 1, "m2", 2, "m3", "m5", 1, "m4") == 2
    assert (ids(server), server.command("EXISTS", of_user(INBOX, 1))) == ({"m1"}, 0)
    assert server.command("ZRANGE", of_user(ACKNOWLEDGED, 1), 0, -1) == ["m3", "m5"]


# Descriptions


def described(server: Valkey) -> dict[str, str]:
    return {id: text for key in RING for id, text in server.command("HGETALL", key).items()}


def test_what_is_accepted_is_described_with_the_nodes_that_heard_it(server: Valkey) -> None:
    with server.client().pubsub() as ear:  # type: ignore[no-untyped-call]
        ear.subscribe(CHANNEL)
        assert ear.get_message(timeout=5)["type"] == "subscribe"
        server.command("SET", of_user(LOG, 2), "garbage")
        put_all(server, [item("m1"), item("full")], [item("m2")], [item("bad")], [item("after")], most=1)
    assert described(server) == {"m1": "m1 is 1", "m2": "m2 is 0"}


def test_descriptions_live_as_long_as_they_have_to_whenever_they_are_written(server: Valkey) -> None:
    """A hash takes descriptions for 100 s and keeps the last one for 600 s."""
    put(server)
    (key,) = (key for key in RING if server.command("EXISTS", key))
    assert 690_000 < ttl_ms(server, key) <= 700_000
    put(server, "m2", keep="never")
    assert set(described(server)) == {"m1", "m2"}


def test_a_new_hash_of_descriptions_takes_the_place_of_the_oldest(server: Valkey) -> None:
    for key in RING:
        server.command("HSET", key, "old", "x")
    put(server, "m0")
    assert server.command("EXISTS", *RING) == 8, "no hash was new"
    current = next(n for n, key in enumerate(RING) if server.command("HEXISTS", key, "m0"))
    server.command("DEL", RING[current])
    put(server, "m1")
    there = [n for n, key in enumerate(RING) if server.command("EXISTS", key)]
    new = next(n for n in there if server.command("HEXISTS", RING[n], "m1"))
    assert (new + 1) % 8 not in there


def test_where_descriptions_cannot_be_written_messages_are_accepted_all_the_same(server: Valkey) -> None:
    for key in RING:
        server.command("SET", key, "garbage")
    assert put(server)[:2] == (0, 1)
    assert ids(server) == {"m1"}


# Messages that no node received are in the inbox only


def waits(server: Valkey) -> list[bool]:
    """Return for each log entry whether it only refers to the inbox."""
    return ["waits" in one for one in log(server)]


def test_the_log_refers_to_what_waits_until_it_is_acknowledged(server: Valkey) -> None:
    seqs = put_many(server, "m1", "m2")
    put(server, "m3", keep="never")
    assert waits(server) == [True, True, False]
    stored = [entry(server, id) for id in ("m1", "m2")]
    _, _, _, found, _ = run(server, CATCH_UP, [LOG, HEAD, INBOX], 0, 1_000_000)
    assert [json.loads(one) for one in found[:2]] == stored
    read(server)
    assert waits(server) == [True, True, False]
    acknowledge(server, "m1", "m2")
    assert waits(server) == [False, False, False]
    assert log(server)[:2] == stored
    assert catch_up(server, seqs[0])[3] == ["m2", "m3"]


def test_what_is_acknowledged_without_having_been_read_stays_in_the_log(server: Valkey) -> None:
    seqs = put_many(server, "m1", "m2", "m3")
    acknowledge(server, "m2")
    assert waits(server) == [True, False, True]
    assert catch_up(server, seqs[0])[3] == ["m2", "m3"]


def test_data_that_looks_like_the_end_of_a_message_is_not_read_as_a_seq(server: Valkey) -> None:
    put(server, "m1", data={"": 0, "accepted": 1, "previous": 2, "life_ms": 3})
    acknowledge(server, "m1")
    assert waits(server) == [False]


def test_what_has_left_the_inbox_by_itself_is_missed_unless_it_has_expired(server: Valkey) -> None:
    seqs = put_many(server, "m1", "m2")
    put(server, "short", ttl_ms=1)
    time.sleep(0.01)
    server.command("HDEL", INBOX, "short")
    last = head(server)[0]
    assert catch_up(server, seqs[0]) == ("same", last, 0, ["m2"])
    server.command("HDEL", INBOX, "m2")
    assert catch_up(server, seqs[0]) == ("lost", str(last))
    assert catch_up(server, seqs[1]) == ("same", last, 0, [])


def test_another_message_of_the_same_id_is_not_what_the_log_refers_to(server: Valkey) -> None:
    seqs = put_many(server, "m0", "m1")
    other = json.dumps(entry(server, "m0"))
    server.command("HSET", INBOX, "m1", other)
    assert catch_up(server, seqs[0]) == ("lost", str(seqs[1]))
    acknowledge(server, "m1")
    assert waits(server) == [True, True]


# The window


def test_what_is_older_than_the_window_leaves_two_at_a_time_and_raises_the_floor(server: Valkey) -> None:
    seqs = put_many(server, "m0", "m1", "m2", "m3", "m4")
    time.sleep(0.05)
    for n, left in ((5, ["m2", "m3", "m4"]), (6, ["m4", "m5"]), (7, ["m5", "m6"])):
        seqs.append(seq_of(put(server, f"m{n}", window_ms=40)))
        server.command("PERSIST", LOG)  # a slow test must not lose it
        assert log_ids(server) == [*left, f"m{n}"]
        assert head(server) == (seqs[-1], log(server)[0]["previous"])
    assert catch_up(server, seqs[4]) == ("same", seqs[7], 0, ["m5", "m6", "m7"]), "the cursor is at the floor"
    assert catch_up(server, seqs[5])[3] == ["m6", "m7"]
    assert catch_up(server, seqs[3]) == ("lost", str(seqs[7]))


def test_an_empty_log_begins_at_the_head(server: Valkey) -> None:
    seqs = put_many(server, "m1", "m2")
    server.command("DEL", LOG)
    seqs += put_many(server, "m3", "m4")
    assert head(server) == (seqs[3], seqs[1])
    assert catch_up(server, seqs[1]) == ("same", seqs[3], 0, ["m3", "m4"])
    assert catch_up(server, seqs[0]) == ("lost", str(seqs[3]))


# Catching up


def test_what_comes_after_the_cursor_comes_in_its_order(server: Valkey) -> None:
    seqs = put_many(server, *(f"m{n}" for n in range(200)))
    for cursor in (0, 1, 62, 63, 64, 65, 127, 128, 198):
        assert catch_up(server, seqs[cursor]) == ("same", seqs[-1], 0, [f"m{n}" for n in range(cursor + 1, 200)])
    assert catch_up(server, seqs[-1]) == ("same", seqs[-1], 0, [])
    assert catch_up(server, 0) == ("same", seqs[-1], 0, [f"m{n}" for n in range(200)])


def test_a_reply_is_as_large_as_it_may_be_and_has_one_entry_at_least(server: Valkey) -> None:
    seqs = put_many(server, *(f"m{n}" for n in range(6)))
    size = len(str(server.command("HGET", INBOX, "m1")))
    assert catch_up(server, seqs[0], most=3 * size) == ("same", seqs[5], 1, ["m1", "m2", "m3"])
    assert catch_up(server, seqs[0], most=1) == ("same", seqs[5], 1, ["m1"])
    assert catch_up(server, seqs[4], most=1) == ("same", seqs[5], 0, ["m5"])
    assert catch_up(server, 7, most=1) == ("new", seqs[5], 1, ["m0"])


def test_catching_up_writes_nothing(server: Valkey) -> None:
    (cursor, *_) = put_many(server, "m1", "m2")
    before = state(server)
    catch_up(server, cursor)
    catch_up(server, 5)
    assert state(server) == before


def test_a_cursor_between_two_messages_of_this_history_is_of_another(server: Valkey) -> None:
    seqs = put_many(server, "m0", "m1", "m2")
    server.command("DEL", LOG)
    seqs += put_many(server, "m3", "m4")
    assert catch_up(server, seqs[3] - 1) == ("lost", str(seqs[4]))
    assert catch_up(server, seqs[4] + 1) == ("lost", str(seqs[4]))


# Keys deleted by other programs


@pytest.mark.parametrize("key", [LOG, HEAD, "everything"])
@pytest.mark.parametrize("then", [0, 1, 2])
def test_catch_up_never_hides_missed_messages(server: Valkey, key: str, then: int) -> None:
    """The log, the head or everything is deleted while a node is away, and `then` messages follow."""
    seen, *_ = put_many(server, "seen", "missed")
    if key == "everything":
        server.command("FLUSHALL")
    else:
        server.command("DEL", key)
    after = [f"m{n}" for n in range(then)]
    seqs = put_many(server, *after)
    kind, *rest = catch_up(server, seen)
    if key == LOG:
        assert kind == "lost"
    elif key == HEAD:
        assert (kind, rest[2]) == ("same", ["missed", *after])
    else:
        assert (kind, rest) == ("new", [seqs[-1] if seqs else 0, 0, after])


@pytest.mark.parametrize("key", [LOG, HEAD])
def test_catch_up_reports_that_nothing_was_missed_if_it_can_know(server: Valkey, key: str) -> None:
    *_, seen = put_many(server, "m1", "seen")
    server.command("DEL", key)
    assert catch_up(server, seen) == ("same", seen, 0, [])
    (new,) = put_many(server, "new")
    assert catch_up(server, seen) == ("same", new, 0, ["new"])


def test_a_log_without_its_beginning_is_not_a_new_history(server: Valkey) -> None:
    """The floor is lost with the deleted head, but messages dropped from the log still count as missed."""
    seen, *_ = put_many(server, "seen", "dropped", "m1")
    server.command("LPOP", LOG, 2)
    server.command("SET", HEAD, f"{head(server)[0]} {log(server)[0]['previous']} 0 0 0")
    assert catch_up(server, seen)[0] == "lost"
    server.command("DEL", HEAD)
    assert catch_up(server, seen)[0] == "lost"
    put(server, "m2")
    assert catch_up(server, seen)[0] == "lost"


def test_a_head_that_the_log_does_not_end_with_is_of_another_history(server: Valkey) -> None:
    seqs = put_many(server, "m1", "m2", "m3")
    server.command("RPOP", LOG)
    assert catch_up(server, seqs[0]) == ("lost", str(seqs[2]))


# Garbage


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_as_a_head_is_as_no_head(server: Valkey, garbage: str) -> None:
    seqs = put_many(server, "m1", "m2")
    server.command("SET", HEAD, garbage)
    assert catch_up(server, seqs[0]) == ("same", seqs[1], 0, ["m2"])
    assert read(server)[0] == 0
    heard, kept, seq, previous = put(server, "m3")
    assert (heard, kept, previous) == (0, 1, 0)
    assert seq > seqs[1]
    assert catch_up(server, seqs[0]) == ("same", seq, 0, ["m2", "m3"])
    assert read(server)[0] == seq


@pytest.mark.parametrize("where", ["first", "last"])
@pytest.mark.parametrize("garbage", ["", "garbage", '{"id":"g"}', '{"accepted":"x","previous":1}'])
def test_garbage_in_the_log_never_hides_that_something_was_missed(server: Valkey, garbage: str, where: str) -> None:
    seqs = put_many(server, "m1", "m2", "m3")
    server.command("LPUSH" if where == "first" else "RPUSH", LOG, garbage)
    kind, *_ = run(server, CATCH_UP, [LOG, HEAD, INBOX], seqs[0], 1_000)
    assert kind == ("same" if where == "first" else "lost")
    assert run(server, CATCH_UP, [LOG, HEAD, INBOX], seqs[2], 1_000)[0] == "same"
    assert read(server)[3] != []
    put(server, "m4")
    assert json.loads(str(server.command("LINDEX", LOG, -1)))["id"] == "m4"
    assert put(server, "m4", keep="never", kind="again") == (-1, "")


def test_garbage_at_the_beginning_of_the_log_is_dropped_as_too_old(server: Valkey) -> None:
    first = seq_of(put(server, "m1"))
    server.command("LPUSH", LOG, "garbage")
    time.sleep(0.05)
    placed = put(server, "m2", window_ms=40)
    assert log_ids(server) == ["m2"]
    assert head(server) == (seq_of(placed), first)


def test_keys_of_another_type_are_refused_and_nothing_is_half_done(server: Valkey) -> None:
    put(server, "m1")
    server.command("DEL", LOG)
    server.command("SET", LOG, "garbage")
    before = server.command("GET", HEAD)
    for call in (lambda: put(server, "m2"), lambda: catch_up(server, 5), lambda: read(server)):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            call()
    assert (server.command("GET", HEAD), ids(server)) == (before, {"m1"})
    assert acknowledge(server, "m1") == 1
    assert ids(server) == set()


# Reading


def test_the_first_unsent_message_is_marked_until_it_is_read(server: Valkey) -> None:
    assert read(server) == (0, "0", 1, [], [])
    first, second = put_many(server, "m1", "m2")
    assert unread(server) == first
    before = ttl_ms(server, HEAD)
    assert read(server) == (second, str(first), 1, ["m1", "m2"], [])
    assert (unread(server), read(server)[1]) == (0, "0")
    assert before - 10_000 < ttl_ms(server, HEAD) <= before
    third = seq_of(put(server, "m3"))
    assert read(server)[1] == str(third)


def test_what_no_session_has_been_sent_is_known_for_as_long_as_it_waits(server: Valkey) -> None:
    put(server, "long", ttl_ms=90_000_000)
    put(server, "short", ttl_ms=1_000)
    run(server, REFRESH, ["sessions::{ann}", "devices::{ann}", HEAD], 5_000, "n1::s1", "", 0)
    assert ttl_ms(server, HEAD) > 89_000_000
    read(server)
    put(server, "later", keep="never")
    assert ttl_ms(server, HEAD) > 3_590_000


def test_reading_finds_of_the_log_what_is_persisted_and_not_acknowledged(server: Valkey) -> None:
    put(server, "m1", persisted=True, keep="never")
    put(server, "m2")
    put(server, "m3", persisted=True, keep="never")
    put(server, "m4", keep="never", data='"persisted":true')
    put(server, "m4b", keep="never", data={"persisted": True, "accepted": 1})
    put(server, "m5", persisted=True, keep="never")
    acknowledge(server, "m3")
    assert read(server)[3:] == (["m2"], ["m5", "m1"])
    assert read(server, logged=4)[3:] == (["m2"], ["m5"])
    assert unread(server) == 0, "they count as sent from now on"


def test_what_the_log_has_is_read_up_to_a_size(server: Valkey) -> None:
    for n in range(5):
        put(server, f"m{n}", persisted=True, keep="never", data="x" * 100)
    size = len(str(server.command("LINDEX", LOG, 1)))
    assert read(server, most=3 * size)[4] == ["m4", "m3", "m2"]


def test_what_is_too_much_at_once_is_answered_as_a_list_of_sizes(server: Valkey) -> None:
    put(server, "m1", data="x")
    put(server, "m2", data="消息")
    _, _, complete, sizes, _ = read(server, most=50)
    assert complete == 0
    assert dict(sizes) == {id: len(str(server.command("HGET", INBOX, id)).encode()) for id in ("m1", "m2")}


# Acknowledging


def test_what_is_acknowledged_leaves_the_inbox_and_stays_in_the_log(server: Valkey) -> None:
    put_many(server, "m1", "m2", "m3")
    before = head(server)
    assert acknowledge(server, "m1", "m3", "unknown") == 1
    assert ids(server) == {"m2"}
    assert log_ids(server) == ["m1", "m2", "m3"]
    assert head(server) == before
    assert server.command("ZRANGE", ACKNOWLEDGED, 0, -1) == ["m1", "m3", "unknown"]
    assert 60_000 <= ttl_ms(server, ACKNOWLEDGED) <= 66_000


def test_acknowledgements_are_remembered_for_a_time_and_up_to_a_number(server: Valkey) -> None:
    server.command("ZADD", ACKNOWLEDGED, time.time_ns() // 1_000_000 - 60_001, "old")
    acknowledge(server, "m1")
    assert server.command("ZRANGE", ACKNOWLEDGED, 0, -1) == ["m1"]
    time.sleep(0.002)
    for n in range(2, 5):
        acknowledge(server, f"m{n}", most=3)
        time.sleep(0.002)
    assert server.command("ZRANGE", ACKNOWLEDGED, 0, -1) == ["m2", "m3", "m4"]


# Out of memory


def test_without_memory_a_put_is_refused_and_nothing_is_half_done(full_server: Valkey) -> None:
    server = full_server
    put(server, "m1", kind="given", digest="1")
    before = state(server)
    server.command("CONFIG", "SET", "maxmemory", 1)
    for keep in ("always", "unheard", "never"):
        for kind in ("new", "given", "again"):
            with pytest.raises(OutOfMemoryError):
                put(server, "m2", keep=keep, kind=kind)
    with pytest.raises(OutOfMemoryError):
        put(server, "m2", most=1)
    server.command("CONFIG", "SET", "maxmemory", 0)
    assert state(server) == before
    assert server.command("EXISTS", FULL_MARK) == 0
    assert put(server, "m2")[3] == log(server)[0]["accepted"]


def test_without_memory_what_is_there_is_read_and_caught_up_with_and_acknowledged(full_server: Valkey) -> None:
    server = full_server
    seqs = put_many(server, "m1", "m2")
    put(server, "m3", persisted=True, keep="never")
    acknowledge(server, "m0")
    server.command("CONFIG", "SET", "maxmemory", 1)
    assert read(server)[1:] == (str(seqs[0]), 1, ["m1", "m2"], ["m3"])
    assert unread(server) == seqs[0]
    assert catch_up(server, seqs[0])[3] == ["m2", "m3"]
    assert catch_up(server, 7)[0] == "new"
    assert acknowledge(server, "m1", "m3") == 1
    assert ids(server) == {"m2"}
    assert read(server)[3:] == (["m2"], [])
