"""Owners of SockJS sessions on a real server, and direct messages between nodes."""

import pytest

from app.cluster.keys import node_channel
from app.cluster.sockjs_owners import TTL_MS, RedisOwners
from app.redis.client import RedisClient
from tests.eventually import eventually
from tests.nodes import running_node
from tests.valkey import Valkey

KEY = "stomp::sockjs::s"


@pytest.fixture
def owners(client: RedisClient) -> tuple[RedisOwners, RedisOwners]:
    return RedisOwners(client, node="a"), RedisOwners(client, node="b")


async def test_first_to_claim_has_it(owners: tuple[RedisOwners, RedisOwners], server: Valkey) -> None:
    a, b = owners
    assert await a.find("s") is None
    assert [await node.claim("s") for node in (a, b, a)] == ["a", "a", "a"]
    assert await b.find("s") == "a"
    assert TTL_MS - 5000 < int(server.command("PTTL", KEY)) <= TTL_MS


async def test_owner_that_is_gone_is_replaced_unless_another_was_faster(
    owners: tuple[RedisOwners, RedisOwners],
) -> None:
    a, b = owners
    await a.claim("s")
    assert await b.claim("s", instead_of="other") == "a"
    assert await b.claim("s", instead_of="a") == "b"
    assert await a.claim("s", instead_of="gone") == "b"


async def test_refresh_prolongs_restores_and_tells_what_is_lost(
    owners: tuple[RedisOwners, RedisOwners], server: Valkey
) -> None:
    a, b = owners
    for session in ("s", "t", "u"):
        await a.claim(session)
    server.command("PEXPIRE", KEY, 1000)
    server.command("DEL", "stomp::sockjs::t")
    await b.claim("u", instead_of="a")

    assert await a.refresh(["s", "t", "u"]) == ["u"]

    assert int(server.command("PTTL", KEY)) > 1000
    assert await b.find("t") == "a"


async def test_only_the_owner_can_give_it_up(owners: tuple[RedisOwners, RedisOwners]) -> None:
    a, b = owners
    await a.claim("s")
    b.disown("s")
    await b.flush()
    assert await b.find("s") == "a"
    a.disown("s")
    assert await a.refresh(["s"]) == []  # or it would come back
    await a.flush()
    assert await b.find("s") is None


async def test_direct_messages_reach_only_their_node_in_order(server: Valkey) -> None:
    async with running_node(server.url, "a") as a, running_node(server.url, "b") as b:
        got: list[tuple[str, bytes]] = []
        a.channel.listen(lambda sender, content: got.append(("to a", content)))
        b.channel.listen(lambda sender, content: got.append((sender, content)))
        for number in range(100):
            assert await a.channel.send("b", b"%d\n\0" % number)
        assert not await a.channel.send("nobody", b"x")
        await eventually(lambda: len(got) == 100)
        assert got == [("a", b"%d\n\0" % number) for number in range(100)]
        assert node_channel("b") != node_channel("a")
