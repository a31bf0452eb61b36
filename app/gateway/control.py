"""The port for questions to all other nodes: which sessions are online, what became of a push, end this session."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

Question = dict[str, Any]
Handler = Callable[[Question], Iterable[Any]]
"""Answers a question with JSON values; what it says must not wait."""


@dataclass(slots=True)
class Answers:
    """The items that other nodes replied with, and the nodes that did not reply in time."""

    items: list[Any] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)


class Control(Protocol):
    def on(self, name: str, handler: Handler) -> None:
        """Let `handler` answer the questions of this name from other nodes."""

    async def ask(self, name: str, question: Question, *, enough: int | None = None) -> Answers:
        """Ask all other nodes. Wait for `enough` items or for all nodes, until the adapter's timeout."""
