"""Questions from one node to the others over Redis pub/sub, and their answers."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pydantic_core import from_json, to_json

from app.cluster.keys import EVERYBODY, node_channel
from app.cluster.members import Members
from app.cluster.wire import Kind, NodeMessage, label
from app.errors import Unavailable
from app.gateway.control import Answers, Handler, Question
from app.redis.client import RedisClient
from app.timing.tasks import TaskOwner

REPLY_TIMEOUT_S = 0.5
PART = 500  # items of one message: Redis disconnects subscribers whose buffer grows too large

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Asked:
    left: set[str]
    enough: int | None
    done: asyncio.Event
    items: list[Any] = field(default_factory=list)


class RedisControl:
    """Publishes questions on the channel of all nodes, or of single ones, and answers on the channel of the asker."""

    def __init__(self, client: RedisClient, members: Members, *, node: str) -> None:
        self._client = client
        self._members = members
        self._node = node
        self._handlers: dict[str, Handler] = {}
        self._asked: dict[int, _Asked] = {}
        self._numbers = count(1)
        self._tasks = TaskOwner()
        client.subscriptions.subscribe(node_channel(node))

    def on(self, name: str, handler: Handler) -> None:
        self._handlers[name] = handler

    async def ask(
        self, name: str, question: Question, *, enough: int | None = None, nodes: Sequence[str] | None = None
    ) -> Answers:
        """Ask all other nodes, or only `nodes`.

        Wait for all answers or `enough` items, at most REPLY_TIMEOUT_S. Without Redis, all known nodes count as
        unanswered.
        """
        number = next(self._numbers)
        asked = self._asked[number] = _Asked(set(nodes or self._members.others), enough, asyncio.Event())
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                if nodes is None:
                    asked.left = set(await self._members.poll())
                if asked.left:
                    channels = [EVERYBODY] if nodes is None else map(node_channel, nodes)
                    await asyncio.gather(*(self._put(channel, number, name, question) for channel in channels))
                    await asked.done.wait()
        except TimeoutError:
            logger.warning("nodes did not answer: %s", ", ".join(sorted(asked.left)))
        except Unavailable as error:
            logger.info("nodes cannot be asked: %s", error)
        finally:
            del self._asked[number]
        satisfied = enough is not None and len(asked.items) >= enough
        return Answers(asked.items, [] if satisfied else sorted(asked.left))

    async def tell(self, node: str, name: str, question: Question) -> None:
        """Send a question to one node without waiting for an answer. Raises Unavailable."""
        await self._put(node_channel(node), next(self._numbers), name, question)

    async def _put(self, channel: str, number: int, name: str, question: Question) -> None:
        content = to_json({"number": number, "name": name, "question": question})
        await self._client.publish(channel, label(Kind.QUESTION, self._node) + content)

    def receive(self, message: NodeMessage) -> None:
        """Handle a question or an answer that the relay received."""
        fields = from_json(message.content)
        if message.kind is Kind.ANSWER:
            self._note(message.sender, fields)
            return
        self._tasks.start(self._answer(message.sender, fields), f"answer to node {message.sender}")

    def _note(self, sender: str, fields: dict[str, Any]) -> None:
        asked = self._asked.get(fields["number"])
        if asked is None:  # after the timeout
            return
        asked.items += fields["items"]
        if fields["last"]:
            asked.left.discard(sender)
        if not asked.left or (asked.enough is not None and len(asked.items) >= asked.enough):
            asked.done.set()

    async def _answer(self, asker: str, fields: dict[str, Any]) -> None:
        try:
            handler = self._handlers.get(fields["name"])
            items = list(handler(fields["question"])) if handler else []
            for part, last in _parts(items):
                content = to_json({"number": fields["number"], "items": part, "last": last})
                await self._client.publish(node_channel(asker), label(Kind.ANSWER, self._node) + content)
        except Unavailable:
            pass  # the asker reports this node as unanswered
        except Exception:  # the outer edge of the task
            logger.exception("a question of node %s could not be answered", asker)

    async def aclose(self) -> None:
        await self._tasks.aclose()


def _parts(items: Sequence[Any]) -> Iterable[tuple[Sequence[Any], bool]]:
    if not items:
        yield items, True
    for start in range(0, len(items), PART):
        yield items[start : start + PART], start + PART >= len(items)
