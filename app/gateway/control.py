"""Questions that a node asks all others: who is online, what became of a push, end this session. The port."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

Question = dict[str, Any]
Handler = Callable[[Question], Iterable[Any]]
"""Answers a question with JSON values; what it says must not wait."""


@dataclass(slots=True)
class Answers:
    """What the other nodes said, all together, and the nodes that did not answer in time."""

    items: list[Any] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)


class Control(Protocol):
    def on(self, name: str, handler: Handler) -> None:
        """`handler` answers the questions of this name that other nodes ask."""

    async def ask(self, name: str, question: Question, *, enough: int | None = None) -> Answers:
        """Asks all other nodes, and waits for `enough` items or for all nodes, until the adapter's timeout."""
