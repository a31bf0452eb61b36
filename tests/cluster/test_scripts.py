"""The scripts as a server runs them, also on what they did not write themselves."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError

import app.cluster.scripts
from app.cluster.scripts import ALL, BEAT, CLEAN_LEDGER, JOIN, PENDING, PUT, REFRESH, Script
from tests.valkey import Valkey, calls, running_valkey

INBOX, MARK, FULL_MARK, CHANNEL = "inbox::{ann}", "mark::{ann}", "full::{ann}", "channel::{ann}"
DEAD = '"node":"dead"}'


def run(server: Valkey, script: Script, keys: list[str], *arguments: str | int) -> Any:
    return server.command("EVAL", script.source, len(keys), *keys, *arguments)


def put(
    server: Valkey,
    id: str = "m1",
    *,
    ttl_ms: int = 60_000,
    most: int = 3,
    keep: str = "always",
    json: str = "",
    ahead_ms: int = 0,
) -> Any:
    now_ms = time.time_ns() // 1_000_000 + ahead_ms
    text = json or f'{{"id":"{id}"}}'
    return run(
        server, PUT, [INBOX, FULL_MARK], id, text, now_ms + ttl_ms, most, now_ms, CHANNEL, "PUBLISH", "head\n", keep
    )


def entry(server: Valkey, id: str) -> Any:
    return json.loads(str(server.command("HGET", INBOX, id)))


def life_ms(server: Valkey, key: str = INBOX) -> int:
    return int(server.command("PTTL", key))


def ids(server: Valkey) -> set[str]:
    return {str(id) for id in server.command("HKEYS", INBOX)}


# The scripts themselves


def test_every_file_is_a_script_that_is_loaded_and_has_the_digest_that_the_server_knows(server: Valkey) -> None:
    files = Path(app.cluster.scripts.__file__).with_name("lua").glob("*.lua")
    assert sorted(script.source for script in ALL) == sorted(file.read_text() for file in files)
    for script in ALL:
        assert server.command("SCRIPT", "LOAD", script.source) == script.digest


# Put


def test_a_message_is_kept_with_when_it_was_accepted_and_when_it_expires(server: Valkey) -> None:
    before_us = time.time_ns() // 1_000
    assert put(server) == [0, 1]
    kept = entry(server, "m1")
    assert before_us - 1_000 <= kept["accepted"] <= time.time_ns() // 1_000 + 1_000
    assert kept["expires_ms"] // 1_000 - 60 == pytest.approx(time.time(), abs=2)
    assert (kept["id"], kept["unsent"]) == ("m1", True)


def test_the_key_lives_as_long_as_its_newest_message_may(server: Valkey) -> None:
    put(server, "long", ttl_ms=60_000)
    put(server, "short", ttl_ms=1_000)
    assert 50_000 < life_ms(server) <= 60_000
    put(server, "longer", ttl_ms=90_000)
    assert 80_000 < life_ms(server) <= 90_000


@pytest.mark.parametrize("keep", ["always", "unheard"])
def test_a_message_whose_time_is_over_leaves_nothing_behind(server: Valkey, keep: str) -> None:
    """A key without an end would stay for ever."""
    put(server, ttl_ms=-1_000, keep=keep)
    assert server.command("EXISTS", INBOX) == 0


@pytest.mark.parametrize("ahead_ms", [-3_600_000, 3_600_000])
def test_a_message_lives_its_time_also_where_the_clocks_of_node_and_server_differ(
    server: Valkey, ahead_ms: int
) -> None:
    assert put(server, "m1", ahead_ms=ahead_ms) == [0, 1]
    assert put(server, "m2", ahead_ms=ahead_ms, ttl_ms=90_000) == [0, 1]
    assert 80_000 < life_ms(server) <= 90_000
    assert ids(server) == {"m1", "m2"}


def test_a_key_that_somebody_made_without_an_end_gets_one(server: Valkey) -> None:
    server.command("HSET", INBOX, "foreign", "garbage")
    put(server)
    assert 0 < life_ms(server) <= 60_000


@pytest.mark.parametrize("garbage", ["", "garbage", '{"expires_ms":"x"}', '{"expires_ms":-5}', '{"expires_ms":1e99}'])
def test_garbage_in_an_inbox_counts_as_expired(server: Valkey, garbage: str) -> None:
    server.command("HSET", INBOX, "g1", garbage, "g2", garbage)
    assert put(server, "g1") == [0, 1]
    assert put(server, "m1") == [0, 1]
    assert put(server, "m2", most=3) == [0, 1]
    assert ids(server) == {"g1", "m1", "m2"}


def test_a_full_inbox_drops_what_has_expired_and_refuses_what_then_has_no_room(server: Valkey) -> None:
    put(server, "long", ttl_ms=60_000)
    server.command("HSET", INBOX, "old", '{"expires_ms":1}')
    assert put(server, "m1", most=2) == [0, 1]
    assert ids(server) == {"long", "m1"}
    assert put(server, "m2", most=2) == [-2]
    assert put(server, "m2", most=2, keep="unheard") == [-2]
    assert ids(server) == {"long", "m1"}


def test_a_full_inbox_is_searched_at_most_once_a_second(server: Valkey) -> None:
    """It takes long, and pushes to somebody who is away may go on and on."""
    put(server, "m1", most=1)
    assert put(server, "m2", most=1) == [-2]
    assert 0 < life_ms(server, FULL_MARK) <= 1_000
    searched = calls("hgetall")
    server.command("HSET", INBOX, "m1", '{"expires_ms":1}')
    assert put(server, "m2", most=1) == [-2]
    assert calls("hgetall") == searched
    server.command("DEL", FULL_MARK)
    assert put(server, "m2", most=1) == [0, 1]


def test_what_is_refused_is_not_published(server: Valkey) -> None:
    with server.client().pubsub() as ear:  # type: ignore[no-untyped-call]
        ear.subscribe(CHANNEL)
        assert ear.get_message(timeout=5)["type"] == "subscribe"
        put(server, "m1", most=1)
        assert put(server, "m2", most=1) == [-2]
        assert put(server, "m1", most=1) == [-1, str(server.command("HGET", INBOX, "m1"))]
        assert put(server, "m3", most=1, keep="never") == [1, 0]
        heard = [json.loads(ear.get_message(timeout=5)["data"].removeprefix("head\n"))["id"] for _ in range(2)]
    assert heard == ["m1", "m3"]


def test_an_id_that_is_there_is_answered_unless_its_time_is_over(server: Valkey) -> None:
    put(server, "m1", json='{"n":1}')
    known = put(server, "m1", json='{"n":2}')
    assert (known[0], json.loads(known[1])["n"]) == (-1, 1)
    server.command("HSET", INBOX, "m1", '{"n":1,"expires_ms":1}')
    assert put(server, "m1", json='{"n":2}') == [0, 1]
    assert entry(server, "m1")["n"] == 2


def test_times_are_whole_numbers_also_in_their_first_microseconds(server: Valkey) -> None:
    """Six digits for the microseconds: 1.000042 s is not 1.42 s."""
    stamps = []
    for n in range(50):
        put(server, f"m{n}", most=100)
        stamps.append(str(entry(server, f"m{n}")["accepted"]))
    assert {len(stamp) for stamp in stamps} == {16}
    assert stamps == sorted(stamps)


# Pending


def test_reading_marks_the_time_and_the_mark_ends_with_the_inbox(server: Valkey) -> None:
    assert run(server, PENDING, [INBOX, MARK], 1_000) == ["0", 1, []]
    assert server.command("EXISTS", MARK) == 0
    put(server)
    mark, complete, values = run(server, PENDING, [INBOX, MARK], 1_000)
    assert (mark, complete, [json.loads(value)["id"] for value in values]) == ("0", 1, ["m1"])
    assert abs(life_ms(server, MARK) - life_ms(server)) < 100
    again, _, _ = run(server, PENDING, [INBOX, MARK], 1_000)
    assert entry(server, "m1")["accepted"] <= int(again)


def test_what_is_too_much_at_once_is_answered_as_a_list_of_sizes(server: Valkey) -> None:
    put(server, "m1", json='{"n":"x"}')
    put(server, "m2", json='{"n":"消息"}')
    _, complete, sizes = run(server, PENDING, [INBOX, MARK], 50)
    assert complete == 0
    assert dict(sizes) == {id: len(str(server.command("HGET", INBOX, id)).encode()) for id in ("m1", "m2")}


def test_an_inbox_can_be_read_while_the_server_is_out_of_memory() -> None:
    with running_valkey() as server:
        put(server)
        server.command("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(OutOfMemoryError):
            put(server, "m2")
        _, complete, values = run(server, PENDING, [INBOX, MARK], 1_000)
        assert (complete, len(values)) == (1, 1)
        assert ids(server) == {"m1"}


# Sessions


SESSIONS, DEVICES = "sessions::{ann}", "devices::{ann}"


def join(server: Valkey, member: str, most: int = 2, device: str = "", *ended: str, life_ms: int = 5_000) -> Any:
    """Without the turn: the member that was replaced, or who is there."""
    came, *_, last = run(server, JOIN, [SESSIONS, DEVICES], member, most, life_ms, device, *ended)
    assert came == isinstance(last, str)
    return last


def refresh(server: Valkey, *arguments: str | int) -> Any:
    return run(server, REFRESH, [SESSIONS, DEVICES], 5_000, *arguments)


def members(server: Valkey) -> Any:
    return sorted(server.command("ZRANGE", SESSIONS, 0, -1))


def test_a_session_joins_below_the_limit_and_is_told_who_is_there_above_it(server: Valkey) -> None:
    assert join(server, "n1::a") == ""
    assert join(server, "n2::b") == ""
    assert join(server, "n1::c") == ["n1::a", "n2::b"]
    assert join(server, "n1::a") == "", "who is there already is no more of them"
    assert 4_000 < life_ms(server, SESSIONS) <= 5_000
    assert server.command("EXISTS", DEVICES) == 0


def test_sessions_that_have_faded_do_not_count(server: Valkey) -> None:
    server.command("ZADD", SESSIONS, 1, "n1::a", 2, "n1::b")
    assert join(server, "n1::c", 1) == ""
    assert members(server) == ["n1::c"]


def test_sessions_that_have_ended_make_room_in_the_same_step(server: Valkey) -> None:
    for member in ("n1::a", "n1::b"):
        join(server, member)
    assert join(server, "n2::c", 2, "", "n1::b", "n9::never") == ""
    assert members(server) == ["n1::a", "n2::c"]


def test_a_session_takes_the_place_of_the_one_before_it_on_its_device(server: Valkey) -> None:
    assert join(server, "n1::a", 1, "phone") == ""
    assert join(server, "n2::b", 1, "phone") == "n1::a"
    assert join(server, "n2::b", 1, "phone") == "", "it is there already"
    assert join(server, "n2::c", 1, "desk") == ["n2::b"]
    assert members(server) == ["n2::b"]
    assert 4_000 < life_ms(server, DEVICES) <= 5_000
    server.command("ZADD", SESSIONS, "+inf", "n3::more")
    assert join(server, "n1::d", 1, "phone") == "n2::b", "one for one, also above the limit"


def test_turns_grow_though_the_clock_of_the_server_goes_back(server: Valkey) -> None:
    future = int(time.time() * 1_000) + 3_600_000
    server.command("HSET", DEVICES, "phone", f"{future} n1::a")
    assert run(server, JOIN, [SESSIONS, DEVICES], "n1::b", 2, 5_000, "phone") == [1, future + 1, ""]
    assert server.command("HGET", DEVICES, "phone") == f"{future + 1} n1::b"
    assert refresh(server, "n1::a", "phone", future, "n1::b", "phone", future + 1) == [["n1::a"]]
    assert members(server) == ["n1::b"]


def test_refreshing_keeps_sessions_and_brings_back_lost_ones(server: Valkey) -> None:
    assert refresh(server, "n1::a", "", 0, "n1::b", "phone", 7) == [[]]
    assert members(server) == ["n1::a", "n1::b"]
    for member in ("n1::a", "n1::b"):
        score = float(server.command("ZSCORE", SESSIONS, member))
        assert score == pytest.approx(time.time() * 1_000 + 5_000, abs=1_000)
    assert server.command("HGETALL", DEVICES) == {"phone": "7 n1::b"}
    assert 4_000 < life_ms(server, DEVICES) <= 5_000


def test_refreshing_tells_what_was_replaced_and_takes_back_what_was_not(server: Valkey) -> None:
    refresh(server, "n1::old", "phone", 5)
    assert refresh(server, "n2::new", "phone", 6, "n2::other", "", 0) == [[]]
    assert members(server) == ["n2::new", "n2::other"]
    assert refresh(server, "n1::old", "phone", 5, "n1::mine", "", 0) == [["n1::old"]]
    assert members(server) == ["n1::mine", "n2::new", "n2::other"]
    assert server.command("HGETALL", DEVICES) == {"phone": "6 n2::new"}


# Nodes


def test_a_beat_tells_the_living_and_the_dead_and_whether_one_had_lapsed(server: Valkey) -> None:
    server.command("ZADD", "nodes", 1, "dead")
    assert run(server, BEAT, ["nodes"], "n1", 5_000) == [1, ["n1"], ["dead"]]
    assert run(server, BEAT, ["nodes"], "n1", 5_000) == [0, ["n1"], ["dead"]]
    server.command("ZADD", "nodes", 1, "n1")
    assert run(server, BEAT, ["nodes"], "n1", 5_000)[0] == 1


def test_cleaning_takes_the_records_of_the_dead_and_no_others(server: Valkey) -> None:
    records = {
        "m1::s1": f'{{"data":"x",{DEAD}',
        "m2::s2": '{"data":"x","node":"alive"}',
        "m3::s3": f'{{"data":{{{DEAD},"node":"alive"}}',
        "m4::s4": '{"data":"' + DEAD.replace('"', '\\"') + '","node":"alive"}',
        "foreign": "garbage",
        "empty": "",
    }
    for field, value in records.items():
        server.command("HSET", "ledger", field, value)
    assert run(server, CLEAN_LEDGER, ["ledger"], "0", 100, "dead", "other") == ["0", 1]
    assert set(server.command("HKEYS", "ledger")) == records.keys() - {"m1::s1"}


def test_cleaning_goes_in_steps_over_a_large_ledger(server: Valkey) -> None:
    pairs = [word for n in range(5_000) for word in (f"m{n}::s", "{" + DEAD if n % 2 else '{"node":"alive"}')]
    server.command("HSET", "ledger", *pairs)
    cursor, removed, steps = "0", 0, 0
    while steps == 0 or cursor != "0":
        cursor, count = run(server, CLEAN_LEDGER, ["ledger"], cursor, 200, "dead")
        assert count < 1_000
        removed, steps = removed + count, steps + 1
    assert (removed, server.command("HLEN", "ledger")) == (2_500, 2_500)
    assert steps > 5
