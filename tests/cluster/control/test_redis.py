import asyncio
import logging
import time
from typing import Any

import pytest

from app.cluster.control.memory import MemoryControl
from app.cluster.control.redis import PART, RedisControl
from app.cluster.keys import NODES, node_channel
from app.cluster.wire import Kind, NodeMessage, label
from tests.eventually import eventually
from tests.nodes import proxied_node, running_node
from tests.valkey import fresh_database, running_valkey, valkey

NAME = "who"


def answer(control: RedisControl, *items: Any) -> None:
    control.on(NAME, lambda question: [*items, *question.get("echo", ())])


async def test_a_single_node_asks_no_other_node() -> None:
    local = MemoryControl()
    local.on(NAME, lambda question: ["x"])
    assert (await local.ask(NAME, {})).items == []
    with fresh_database() as url:
        async with running_node(url) as node:
            answer(node.control, "mine")
            answers = await node.control.ask(NAME, {})
            assert (answers.items, answers.unanswered) == ([], [])


async def test_all_other_nodes_answer_and_the_one_that_asks_does_not() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2") as two, running_node(url, "n3") as three:
            answer(one.control, "one")
            answer(two.control, "two")
            answer(three.control)
            await eventually(lambda: valkey().command("ZCARD", NODES) == 3)
            answers = await one.control.ask(NAME, {"echo": ["消息"]})
            assert sorted(answers.items) == ["two", "消息", "消息"]
            assert answers.unanswered == []
            assert one.control._asked == {}


async def test_some_nodes_can_be_asked_alone() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2") as two, running_node(url, "n3") as three:
            answer(two.control, "two")
            answer(three.control, "three")
            assert (await one.control.ask(NAME, {}, nodes=["n3"])).items == ["three"]
            answers = await one.control.ask(NAME, {}, nodes=["n2", "dead"])
            assert (answers.items, answers.unanswered) == (["two"], ["dead"])


async def test_tell_does_not_wait_for_an_answer() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2") as two:
            told: list[Any] = []

            def note(question: Any) -> list[Any]:
                told.append(question)
                return []

            two.control.on(NAME, note)
            await one.control.tell("n2", NAME, {"a": 1})
            await one.control.tell("dead", NAME, {"a": 1})
            await eventually(lambda: told == [{"a": 1}])
            assert one.control._asked == {}


async def test_questions_at_the_same_time_get_their_own_answers() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2") as two:
            answer(two.control)
            await eventually(lambda: valkey().command("ZCARD", NODES) == 2)
            all_answers = await asyncio.gather(*(one.control.ask(NAME, {"echo": [n]}) for n in range(20)))
            assert [answers.items for answers in all_answers] == [[n] for n in range(20)]


async def test_a_long_answer_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2") as two:
            items = list(range(2 * PART + 1))
            answer(two.control, *items)
            await eventually(lambda: valkey().command("ZCARD", NODES) == 2)
            received: list[NodeMessage] = []
            receive = one.control.receive

            def count(message: NodeMessage) -> None:
                received.append(message)
                receive(message)

            monkeypatch.setattr(one.control, "receive", count)
            assert (await one.control.ask(NAME, {})).items == items
            assert len(received) == 3


async def test_a_question_that_a_node_does_not_know_has_no_items() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2"):
            await eventually(lambda: valkey().command("ZCARD", NODES) == 2)
            answers = await one.control.ask("unknown", {})
            assert (answers.items, answers.unanswered) == ([], [])


async def test_a_node_that_does_not_answer_is_named_after_half_a_second(caplog: pytest.LogCaptureFixture) -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2") as two:
            answer(two.control, "two")
            valkey().command("ZADD", NODES, 9_999_999_999_999, "hung")
            await eventually(lambda: valkey().command("ZCARD", NODES) == 3)
            started_s = time.monotonic()
            answers = await one.control.ask(NAME, {})
            assert 0.4 < time.monotonic() - started_s < 0.8
            assert (answers.items, answers.unanswered) == (["two"], ["hung"])
            assert "nodes did not answer: hung" in caplog.text


async def test_ask_returns_once_it_has_enough_items() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2") as two:
            answer(two.control, "two")
            valkey().command("ZADD", NODES, 9_999_999_999_999, "hung")
            await eventually(lambda: valkey().command("ZCARD", NODES) == 3)
            started_s = time.monotonic()
            answers = await one.control.ask(NAME, {}, enough=1)
            assert time.monotonic() - started_s < 0.3
            assert (answers.items, answers.unanswered) == (["two"], [])


async def test_a_handler_that_fails_is_logged_and_leaves_its_node_unanswered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(question: Any) -> list[Any]:
        raise KeyError("nothing")

    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2") as two:
            two.control.on(NAME, fail)
            await eventually(lambda: valkey().command("ZCARD", NODES) == 2)
            assert (await one.control.ask(NAME, {})).unanswered == ["n2"]
    assert "a question of node n1 could not be answered" in caplog.text


@pytest.mark.parametrize("content", [b"{}", b'{"name":[]}', b'{"name":"who","question":null,"number":1}', b"[]"])
async def test_an_invalid_question_is_only_logged(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as node:
            answer(node.control)
            node.control.receive(NodeMessage(Kind.QUESTION, "n2", content))
            await eventually(lambda: not len(node.control._tasks))
    assert "a question of node n2 could not be answered" in caplog.text
    assert "never retrieved" not in caplog.text


async def test_answers_that_come_too_late_are_passed_over() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as node:
            late = label(Kind.ANSWER, "n2") + b'{"number":7,"items":["late"],"last":true}'
            await node.client.publish(node_channel("n1"), late)
            assert node.control._asked == {}


# Without Redis


async def test_without_redis_the_nodes_of_before_have_not_answered() -> None:
    async with proxied_node() as (proxy, node):
        valkey().command("ZADD", NODES, 9_999_999_999_999, "n2")
        await node.members.poll()
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: not node.client.is_up)
        answers = await node.control.ask(NAME, {})
        assert (answers.items, answers.unanswered) == ([], ["n2"])


async def test_a_redis_that_hangs_is_waited_for_no_longer_than_nodes_are() -> None:
    with running_valkey() as server:
        async with running_node(server.url) as node:
            server.command("ZADD", NODES, 9_999_999_999_999, "n2")
            await node.members.poll()
            server.freeze()
            started_s = time.monotonic()
            answers = await node.control.ask(NAME, {})
            assert 0.4 < time.monotonic() - started_s < 0.8
            assert answers.unanswered == ["n2"]
            server.thaw()


async def test_answers_under_way_end_with_the_node() -> None:
    async with proxied_node() as (proxy, node):
        answer(node.control, "x")
        proxy.stall()
        node.control.receive(NodeMessage(Kind.QUESTION, "n2", b'{"name":"who","question":{},"number":1}'))
        await asyncio.sleep(0)
        assert len(node.control._tasks) == 1
        await node.control.aclose()
        assert len(node.control._tasks) == 0
        proxy.flow()


async def test_an_answer_that_cannot_be_sent_is_dropped_silently(caplog: pytest.LogCaptureFixture) -> None:
    async with proxied_node() as (proxy, node):
        answer(node.control, "x")
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: not node.client.is_up)
        with caplog.at_level(logging.WARNING):
            node.control.receive(NodeMessage(Kind.QUESTION, "n2", b'{"name":"who","question":{},"number":1}'))
            await eventually(lambda: not len(node.control._tasks))
        assert "could not be answered" not in caplog.text
