from itertools import combinations

import pytest
from redis.crc import key_slot

from app.cluster.keys import (
    EVERYBODY,
    broadcast_mark_key,
    devices_key,
    full_mark_key,
    inbox_key,
    ledger_field,
    ledger_keys,
    ledger_partition,
    node_channel,
    sessions_key,
    topic_channel,
    user_channel,
)
from app.messages.receivers import receiver_problem

USERS = ["ann", "}", "}ann", "}}ann", "{ann", "{ann}", "a}b", "a{b}c", "{", "{}", "消息", "a::b", "x" * 128]
BUILDERS = [inbox_key, full_mark_key, sessions_key, devices_key, user_channel]


def test_keys_have_the_names_that_operators_know() -> None:
    assert inbox_key("ann") == "stomp::inbox::{ann}"
    assert sessions_key("ann") == "stomp::sessions::{ann}"
    assert user_channel("ann") == "stomp::ws_notify_topic::{ann}"
    assert ledger_keys(1) == ("stomp::pending_messages",)
    assert ledger_keys(2) == ("stomp::pending_messages::{0}", "stomp::pending_messages::{1}")
    assert ledger_field("m1", "s1") == "m1::s1"


@pytest.mark.parametrize("user", USERS)
def test_all_that_is_a_users_lies_in_one_slot(user: str) -> None:
    assert receiver_problem(user) is None
    assert len({key_slot(build(user).encode()) for build in BUILDERS}) == 1


def test_no_two_users_share_a_key() -> None:
    for build in BUILDERS:
        assert all(build(one) != build(other) for one, other in combinations(USERS, 2))


def test_no_user_has_the_channel_of_a_topic_or_a_node() -> None:
    others = {topic_channel("/topic/ann"), topic_channel("/topic/{ann}"), node_channel("ann"), node_channel("n-1")}
    assert len(others) == 4
    assert others.isdisjoint(user_channel(user) for user in USERS)
    for channel in others:  # a user would have to be named so
        name = channel.removeprefix("stomp::ws_notify_topic::").removeprefix("{").removesuffix("}")
        assert receiver_problem(name) is not None


TOPICS = ["/topic/a", "/topic/{a}", "/topic/a}b", "/topic/ab", "/topic/}{", "/topic/{}", "/topic/{a", "/topic/{a}b}"]


def test_topics_have_the_channels_that_operators_know() -> None:
    assert topic_channel("/topic/news") == "stomp::ws_notify_topic::/topic/news"


def test_the_mark_of_a_broadcast_lies_in_the_slot_of_its_channel() -> None:
    channels = [EVERYBODY, *map(topic_channel, TOPICS)]
    for channel in channels:
        assert key_slot(broadcast_mark_key(channel, "m:{1}").encode()) == key_slot(channel.encode()), channel
    assert len(set(channels)) == len(channels)


def test_ordinary_users_are_spread_over_the_slots() -> None:
    assert len({key_slot(inbox_key(f"user{n}").encode()) for n in range(200)}) > 150


def test_messages_are_spread_over_the_partitions_of_the_ledger() -> None:
    partitions = [ledger_partition(f"m{n}", 4) for n in range(400)]
    assert {partitions.count(partition) > 50 for partition in range(4)} == {True}
    assert ledger_partition("m1", 1) == 0
