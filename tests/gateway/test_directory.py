"""What one node says of itself, and what it makes of what the others say."""

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic_core import from_json, to_json

from app.errors import Unavailable
from app.gateway.control import Answers, Handler, Question
from app.gateway.directory import Directory
from tests.gateway.conversation import Peer, Stage, settle


class Line:
    """A control channel between nodes in one process; `silent` nodes do not answer."""

    def __init__(self) -> None:
        self.ends: dict[str, LineEnd] = {}
        self.silent: list[str] = []

    def end(self, node: str) -> "LineEnd":
        end = self.ends[node] = LineEnd(self, node)
        return end


class LineEnd:
    def __init__(self, line: Line, node: str) -> None:
        self._line = line
        self._node = node
        self.handlers: dict[str, Handler] = {}
        self.asked = 0

    def on(self, name: str, handler: Handler) -> None:
        self.handlers[name] = handler

    async def ask(self, name: str, question: Question, *, enough: int | None = None) -> Answers:
        self.asked += 1
        answers = Answers()
        for node, other in self._line.ends.items():
            if node == self._node:
                continue
            if node in self._line.silent:
                answers.unanswered.append(node)
            else:
                answers.items += from_json(to_json(list(other.handlers[name](question))))
        if enough is not None and len(answers.items) >= enough:
            answers.unanswered = []
        return answers


class Node:
    def __init__(self, line: Line, name: str) -> None:
        self.stage = Stage()
        self.line_end = line.end(name)
        self.directory = Directory(
            node=name,
            hub=self.stage.hub,
            acks=self.stage.acks,
            delivery=self.stage.delivery,
            mailbox=self.stage.mailbox,
            gateway=self.stage.gateway,
            control=self.line_end,
            clock=self.stage.clock,
        )

    async def session(self, user: str = "alice", **headers: str) -> tuple[Peer, str]:
        peer = await self.stage.connected(user, **headers)
        assert peer.connection.session is not None
        return peer, peer.connection.session.id


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def nodes(line: Line) -> Sequence[Node]:
    return [Node(line, "n1"), Node(line, "n2")]


def ids(answer: tuple[Sequence[dict[str, Any]], Sequence[str]]) -> list[str]:
    return [item["session"] for item in answer[0]]


# Sessions


async def test_sessions_of_all_nodes_come_in_the_order_in_which_they_came(nodes: Sequence[Node]) -> None:
    here, there = nodes
    _, first = await there.session()
    here.stage.clock.advance(1)
    _, second = await here.session("bob")
    there.stage.clock.advance(2)
    _, third = await there.session()
    assert ids(await here.directory.sessions()) == [first, second, third]
    assert ids(await there.directory.sessions("alice")) == [first, third]
    assert ids(await here.directory.sessions("nobody")) == []


async def test_a_session_is_described_with_its_node(nodes: Sequence[Node]) -> None:
    here, there = nodes
    peer, session_id = await there.session(**{"client-id": "phone"})
    await peer.subscribe("/user/queue/msg")
    await peer.subscribe("/topic/a", "sub-1")
    await there.stage.push("alice")
    items, unanswered = await here.directory.sessions()
    assert (items, unanswered) == (
        [
            {
                "session": session_id,
                "user": "alice",
                "client_id": "phone",
                "node": "n2",
                "transport": "fake",
                "version": "1.2",
                "remote": "192.0.2.1:4000",
                "connected_at": there.stage.clock.epoch_ms(),
                "subscriptions": ["/topic/a", "/user/queue/msg"],
                "unacknowledged": 1,
            }
        ],
        [],
    )


async def test_nodes_that_do_not_answer_are_named(nodes: Sequence[Node], line: Line) -> None:
    _, mine = await nodes[0].session()
    await nodes[1].session()
    line.silent = ["n2"]
    answer = await nodes[0].directory.sessions()
    assert (ids(answer), answer[1]) == ([mine], ["n2"])
    assert await nodes[0].directory.status("m1") == (None, ["n2"])


# Ending a session


async def test_a_session_of_this_node_is_ended_without_asking_others(nodes: Sequence[Node]) -> None:
    peer, session_id = await nodes[0].session()
    assert await nodes[0].directory.end_session(session_id)
    assert (peer.close_code, nodes[0].line_end.asked) == (4503, 0)


async def test_a_session_of_another_node_is_ended_there(nodes: Sequence[Node]) -> None:
    peer, session_id = await nodes[1].session()
    stays, _ = await nodes[1].session()
    assert await nodes[0].directory.end_session(session_id)
    await settle()
    assert (peer.close_code, stays.over) == (4503, False)


async def test_a_session_that_nobody_has_is_told_so(nodes: Sequence[Node]) -> None:
    assert not await nodes[0].directory.end_session("none")


async def test_a_session_that_a_silent_node_may_have_is_unavailable(nodes: Sequence[Node], line: Line) -> None:
    line.silent = ["n2"]
    with pytest.raises(Unavailable, match="n2"):
        await nodes[0].directory.end_session("none")


# What became of a push


async def test_a_push_that_nobody_knows_has_no_status(nodes: Sequence[Node]) -> None:
    assert await nodes[0].directory.status("none") == (None, [])


async def test_the_status_is_that_of_the_node_that_knows_most_with_the_sessions_of_all(
    nodes: Sequence[Node],
) -> None:
    """Both nodes know a message of this id, as they do of one that came through the relay."""
    here, there = nodes
    near, near_id = await here.session()
    far, far_id = await there.session()
    for peer in (near, far):
        await peer.subscribe("/user/queue/msg")
    assert await here.stage.push("alice") == await there.stage.push("alice") == "m1"
    far.send("SEND", {"destination": "/app/ack"}, "m1")
    await settle()
    for node in nodes:
        item, unanswered = await node.directory.status("m1")
        assert item is not None
        assert (item["id"], item["receiver"], item["status"], unanswered) == ("m1", "alice", "delivered", [])
        acked = {session["session"]: session["acked_at"] for session in item["sessions"]}
        assert acked == {near_id: None, far_id: there.stage.clock.epoch_ms()}


@pytest.mark.parametrize("asker", [0, 1])
async def test_what_is_stored_on_one_node_and_sent_on_another_is_sent(nodes: Sequence[Node], asker: int) -> None:
    here, there = nodes
    await here.stage.push("alice")
    peer, _ = await there.session()
    await peer.subscribe("/user/queue/msg")
    await there.stage.push("alice")
    item, _ = await nodes[asker].directory.status("m1")
    assert item is not None
    assert (item["status"], len(item["sessions"])) == ("sent", 1)
