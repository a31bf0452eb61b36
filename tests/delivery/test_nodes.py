"""Messages between nodes, one step at a time."""

import asyncio

import pytest

from app.cluster.relay.memory import MemoryBus
from app.errors import IdConflict, Unavailable
from app.hub.publication import Publication
from app.messages.destinations import USER_MESSAGES
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from tests.delivery.node import TTL_MS, Node, read_mailbox
from tests.delivery.nodes import NodeRelay, new_nodes, relay_of
from tests.delivery.test_replay import one_frame, slow_device, turns

# Pushing


async def test_a_push_on_one_node_reaches_the_sessions_on_all() -> None:
    here, there = new_nodes()
    near, far, other = await here.listening(), await there.listening(), await there.listening("bob")
    outcome = await here.push("m1")
    assert (outcome.status, outcome.sessions) == ("sent", 1)
    assert (near.attempts(), far.attempts(), other.got()) == ([("m1", 1)], [("m1", 1)], [])
    assert (near.open, far.open) == (["m1"], ["m1"])


async def test_a_push_that_only_others_hear_is_sent() -> None:
    here, there, idle = new_nodes(3)
    device = await there.listening()
    outcome = await here.push("m1")
    assert (outcome.status, outcome.sessions) == ("sent", 0)
    assert device.got() == ["m1"]
    assert idle.delivery.trace("m1") is None, "a node without sessions of the user does not hear of it"


async def test_an_acknowledgement_on_any_node_ends_the_stay_in_the_inbox() -> None:
    here, there = new_nodes()
    device = await there.listening()
    await here.push("m1")
    device.ack("m1")
    assert await here.pending() == []
    assert (await here.listening()).got() == []
    assert there.status("m1") == "delivered"


async def test_pushes_come_in_their_order_whatever_node_takes_them() -> None:
    nodes = new_nodes(3)
    devices = [await node.listening() for node in nodes]
    sent = [f"m{n}" for n in range(30)]
    for n, id in enumerate(sent):
        await nodes[n % 3].push(id)
    assert [device.got() for device in devices] == [sent] * 3


async def test_the_node_of_the_session_sends_again_and_not_the_one_that_took_the_push() -> None:
    here, there = new_nodes()
    device = await there.listening()
    await here.push("m1")
    await here.pass_time(5.25)
    assert device.attempts() == [("m1", 1)]
    await there.delivery.sweep()
    assert device.attempts() == [("m1", 2)]


@pytest.mark.parametrize("persisted", [False, True])
async def test_what_is_not_kept_is_sent_to_who_is_there_on_any_node(persisted: bool) -> None:
    here, there = new_nodes()
    device = await there.listening()
    message = NotifyMessage(
        id="m1", type="STRING_MSG", receiver="ann", data="x", viewed=False, created=here.clock.epoch_ms()
    )
    envelope = Envelope(
        message=message,
        encoder=MessageEncoder(message),
        expires_ms=message.created + TTL_MS,
        acknowledged=persisted,
        persisted=persisted,
    )
    await here.delivery.push(envelope)
    assert device.got() == ["m1"]
    assert await here.pending() == (["m1"] if persisted else []), "the log has it, of the archive it may be missing"
    assert there.trace("m1").persisted is persisted


async def test_what_nobody_hears_waits_for_the_first_who_comes_and_goes_with_him() -> None:
    here, there = new_nodes()
    assert (await here.push("m1", ack=False)).status == "stored"
    assert (await there.listening()).got() == ["m1"]
    assert (await here.listening()).got() == []


async def test_own_sessions_get_a_push_after_what_came_from_others_before_it() -> None:
    here, _ = new_nodes()
    device = await here.listening()
    news = Publication(message_id="b1", destination=USER_MESSAGES, body=b"{}")
    relay_of(here).waiting = turn = asyncio.get_running_loop().create_future()
    pushing = asyncio.create_task(here.push("m1"))
    publishing = asyncio.create_task(here.delivery.publish(news))
    await turns()
    assert device.got() == []
    turn.set_result(None)
    await asyncio.gather(pushing, publishing)
    assert [frame.headers["message-id"] for frame in device.transport.frames(device.session.version)] == ["m1", "b1"]


# The same id again


async def test_an_id_that_another_node_has_taken_answers_as_replayed_and_sends_nothing() -> None:
    here, there = new_nodes()
    device = await here.listening()
    await here.push("m1")
    outcome = await there.push("m1")
    assert (outcome.replayed, outcome.status) == (True, "stored")
    assert device.got() == ["m1"]
    assert (await there.push("m1")).replayed


async def test_an_id_that_another_node_has_taken_for_other_content_is_a_conflict() -> None:
    here, there = new_nodes()
    await here.push("m1", data="first")
    with pytest.raises(IdConflict):
        await there.push("m1", data="second")
    assert there.delivery.trace("m1") is None
    outcome = await there.push("m1", data="first")
    assert outcome.replayed


async def test_an_id_that_another_node_has_taken_for_a_session_here_is_sent_to_it_once() -> None:
    here, there = new_nodes()
    device = await here.listening()
    await there.push("m1")
    outcome = await here.push("m1")
    assert (outcome.replayed, outcome.status, outcome.sessions) == (True, "sent", 1)
    assert device.attempts() == [("m1", 1)]
    device.ack("m1")
    assert (await there.push("m1")).replayed
    assert (device.got(), await here.pending()) == ([], [])


async def test_an_acknowledged_id_is_known_on_every_node() -> None:
    """To a node that never heard of it, too; otherwise it would wait for a client that has acknowledged it."""
    here, there, third = new_nodes(3)
    device = await here.listening()
    await there.push("m1")
    device.ack("m1")
    outcome = await third.push("m1")
    assert (outcome.replayed, outcome.status) == (True, "stored")
    with pytest.raises(IdConflict):
        await third.push("m1", data="other")
    assert (device.got(), await third.pending()) == (["m1"], [])


async def test_a_message_of_an_id_that_is_another_users_here_is_delivered() -> None:
    here, there = new_nodes()
    await there.push("m1", to="bob", data="his")
    device = await there.listening()
    await here.push("m1", to="ann", data="hers")
    (message,) = device.received()
    assert message.body["data"] == "hers"
    assert there.trace("m1").receiver == "ann"


# Coming and going


async def test_what_was_sent_on_one_node_comes_to_the_next_session_on_another_as_redelivered() -> None:
    here, there = new_nodes()
    first = await here.listening()
    await here.push("m1")
    first.leave()
    await here.push("m2")
    second = await there.listening()
    assert second.attempts() == [("m1", 2), ("m2", 1)]
    second.leave()
    third = await here.listening()
    assert [id for id, attempt in third.attempts() if attempt > 1] == ["m1", "m2"]


async def test_a_message_from_elsewhere_that_comes_during_a_replay_is_held_in_its_order() -> None:
    here, there = new_nodes()
    for id in ("m1", "m2"):
        await there.push(id)
    device = await slow_device(here)
    replay = asyncio.create_task(device.subscribe())
    await one_frame(device)
    await there.push("m3")
    await here.push("m4")
    assert device.got() == ["m1"]
    device.transport.on_send = lambda: None
    device.transport.slow = False
    await replay
    assert device.attempts() == [("m2", 1), ("m3", 1), ("m4", 1)]


async def test_a_message_that_arrives_after_its_replay_does_not_come_twice() -> None:
    here, there = new_nodes()
    device = await here.listening()
    await there.push("m1")
    (envelope,) = await read_mailbox(here.mailbox, "ann", here.clock.epoch_ms())
    here.delivery.receive_message(envelope, 0)
    device.ack("m1")
    here.delivery.receive_message(envelope, 0)
    late = await here.listening()
    here.delivery.receive_message(envelope, 0)
    assert (device.attempts(), late.got()) == ([("m1", 1)], [])


async def test_a_node_without_sessions_of_the_user_is_told_nothing_more() -> None:
    here, there = new_nodes()
    device, second = await there.listening(), await there.listening()
    device.leave()
    assert (await here.push("m1")).status == "sent"
    second.unsubscribe()
    assert (await here.push("m2")).status == "stored"


# Changes of other devices


async def test_a_change_is_told_to_the_sessions_on_all_nodes_and_withdraws_what_it_names() -> None:
    here, there = new_nodes()
    near, far = await here.listening(), await there.listening()
    await here.push("m1")
    await here.push("m2")
    change = NotifyMessage(id="c1", type="NOTIFY_VIEWED", receiver="ann", data={"ids": ["m1"]}, viewed=False, created=5)
    here.delivery.tell(change, withdrawn=["m1"])
    for device in (near, far):
        assert device.got() == ["m1", "m2", "c1"]
        assert device.open == ["m2"]
    assert await there.pending() == ["m2"]


async def test_what_is_withdrawn_on_another_node_during_a_replay_does_not_come() -> None:
    here, there = new_nodes()
    for id in ("m1", "m2", "m3"):
        await there.push(id)
    device = await slow_device(here)
    replay = asyncio.create_task(device.subscribe())
    await one_frame(device)
    await there.push("m4")
    change = NotifyMessage(id="c1", type="NOTIFY_VIEWED", receiver="ann", data={}, viewed=False, created=5)
    there.delivery.tell(change, withdrawn=["m2", "m4"])
    device.transport.on_send = lambda: None
    device.transport.slow = False
    await replay
    assert device.got() == ["m1", "c1", "m3"]


# Topics


async def test_a_topic_is_watched_from_its_first_subscriber_to_its_last() -> None:
    bus = MemoryBus()
    relay = NodeRelay(bus)
    node = Node(relay=relay)
    one, other = node.device("ann"), node.device("bob")
    one.listen_to("/topic/a")
    other.listen_to("/topic/a")
    one.leave()
    assert relay._topics == {"/topic/a"}
    other.leave()
    assert relay._topics == set()


async def test_what_has_no_other_nodes_is_not_watched() -> None:
    bus = MemoryBus()
    relay = NodeRelay(bus)
    node = Node(relay=relay)
    device = node.device()
    device.listen_to("/user/queue/errors")
    device.leave()
    assert (relay._topics, relay._users) == (set(), set())


async def test_without_the_relay_nothing_is_accepted_that_others_should_hear() -> None:
    here, _ = new_nodes()
    here.delivery.require_relay("ann")
    assert here.delivery.reaches("ann")
    relay_of(here).up = False
    assert not here.delivery.reaches("ann")
    with pytest.raises(Unavailable):
        here.delivery.require_relay("ann")
