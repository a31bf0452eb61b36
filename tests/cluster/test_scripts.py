"""The scripts of sessions and nodes on a real server, with their own data and with data of other programs."""

import time
from pathlib import Path
from typing import Any

import pytest

import app.cluster.scripts
from app.cluster.scripts import ALL, BEAT, BURY, CLEAN_LEDGER, JOIN, REFRESH
from app.redis.scripts import Script
from tests.valkey import Valkey

DEAD = '"node":"dead"}'


def run(server: Valkey, script: Script, keys: list[str], *arguments: str | int) -> Any:
    return server.command("EVAL", script.source, len(keys), *keys, *arguments)


def ttl_ms(server: Valkey, key: str) -> int:
    return int(server.command("PTTL", key))


# The scripts themselves


def test_every_file_is_a_script_that_is_loaded_and_has_the_digest_that_the_server_knows(server: Valkey) -> None:
    files = Path(app.cluster.scripts.__file__).with_name("lua").glob("*.lua")
    assert sorted(script.source for script in ALL) == sorted(file.read_text() for file in files)
    for script in ALL:
        assert server.command("SCRIPT", "LOAD", script.source) == script.digest


# Sessions


SESSIONS, DEVICES, HEAD = "sessions::{ann}", "devices::{ann}", "head::{ann}"


def join(server: Valkey, member: str, most: int = 2, device: str = "", *ended: str, ttl_ms: int = 5_000) -> Any:
    """Return the result without the turn: the replaced member, or the members."""
    came, *_, last = run(server, JOIN, [SESSIONS, DEVICES], member, most, ttl_ms, device, *ended)
    assert came == isinstance(last, str)
    return last


def refresh(server: Valkey, *arguments: str | int) -> Any:
    return run(server, REFRESH, [SESSIONS, DEVICES, HEAD], 5_000, *arguments)


def members(server: Valkey) -> Any:
    return sorted(server.command("ZRANGE", SESSIONS, 0, -1))


def test_join_succeeds_below_the_limit_and_returns_the_members_at_it(server: Valkey) -> None:
    assert join(server, "n1::a") == ""
    assert join(server, "n2::b") == ""
    assert join(server, "n1::c") == ["n1::a", "n2::b"]
    assert join(server, "n1::a") == "", "who is there already is no more of them"
    assert 4_000 < ttl_ms(server, SESSIONS) <= 5_000
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
    assert 4_000 < ttl_ms(server, DEVICES) <= 5_000
    server.command("ZADD", SESSIONS, "+inf", "n3::more")
    assert join(server, "n1::d", 1, "phone") == "n2::b", "one for one, also above the limit"


def test_turns_grow_though_the_clock_of_the_server_goes_back(server: Valkey) -> None:
    future = int(time.time() * 1_000) + 3_600_000
    server.command("HSET", DEVICES, "phone", f"{future} n1::a")
    assert run(server, JOIN, [SESSIONS, DEVICES], "n1::b", 2, 5_000, "phone") == [1, future + 1, ""]
    assert server.command("HGET", DEVICES, "phone") == f"{future + 1} n1::b"
    assert refresh(server, "n1::b", "phone", future + 1, "n1::a", "phone", future) == [["n1::a"], 0]
    assert members(server) == ["n1::b"]


def test_refreshing_keeps_sessions_and_brings_back_lost_ones(server: Valkey) -> None:
    assert refresh(server, "n1::a", "", 0, "n1::b", "phone", 7) == [[], 0]
    assert members(server) == ["n1::a", "n1::b"]
    for member in ("n1::a", "n1::b"):
        score = float(server.command("ZSCORE", SESSIONS, member))
        assert score == pytest.approx(time.time() * 1_000 + 5_000, abs=1_000)
    assert server.command("HGETALL", DEVICES) == {"phone": "7 n1::b sure"}
    assert 4_000 < ttl_ms(server, DEVICES) <= 5_000


def test_refreshing_tells_what_was_replaced_and_takes_back_what_was_not(server: Valkey) -> None:
    refresh(server, "n1::old", "phone", 5)
    assert refresh(server, "n2::new", "phone", 6, "n2::other", "", 0) == [[], 0]
    assert members(server) == ["n2::new", "n2::other"]
    assert refresh(server, "n1::old", "phone", 5, "n1::mine", "", 0) == [["n1::old"], 0]
    assert members(server) == ["n1::mine", "n2::new", "n2::other"]
    assert server.command("HGETALL", DEVICES) == {"phone": "6 n2::new sure"}


def test_refreshing_tells_the_latest_message_of_the_user_and_keeps_its_history(server: Valkey) -> None:
    server.command("SET", HEAD, "1700000000000001 5 0 0 0", "PX", 1_000)
    assert refresh(server, "n1::a", "", 0) == [[], 1_700_000_000_000_001]
    assert 3_500_000 < ttl_ms(server, HEAD) <= 3_600_000
    server.command("SET", HEAD, "garbage")
    assert refresh(server, "n1::a", "", 0) == [[], 0]


# Nodes


def test_a_beat_tells_the_living_and_the_dead_and_whether_one_had_lapsed(server: Valkey) -> None:
    server.command("ZADD", "nodes", 1, "dead")
    assert run(server, BEAT, ["nodes"], "n1", 5_000) == [1, ["n1"], ["dead"], []]
    assert run(server, BEAT, ["nodes"], "n1", 5_000) == [0, ["n1"], ["dead"], []]
    server.command("ZADD", "nodes", 1, "n1")
    assert run(server, BEAT, ["nodes"], "n1", 5_000)[0] == 1


def test_dead_nodes_are_buried_once_and_remembered_for_one_ttl(server: Valkey) -> None:
    now_ms = int(server.command("TIME")[0]) * 1_000
    server.command("ZADD", "nodes", now_ms - 1_000, "dead", now_ms - 60_000, "long dead", now_ms + 60_000, "returned")
    run(server, BURY, ["nodes"], "dead", "long dead", "returned", "unknown")
    assert float(server.command("ZSCORE", "nodes", "dead")) == 1_000 - now_ms
    run(server, BURY, ["nodes"], "dead")
    assert float(server.command("ZSCORE", "nodes", "dead")) == 1_000 - now_ms
    lease_lost, living, dead, buried = run(server, BEAT, ["nodes"], "n1", 30_000)
    assert (lease_lost, set(living), dead, buried) == (1, {"n1", "returned"}, [], ["dead"])
    assert run(server, BEAT, ["nodes"], "dead", 30_000)[0] == 1, "it had lapsed"


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
