"""Control of a single node: there is no other node to ask."""

from app.gateway.control import Answers, Handler, Question


class MemoryControl:
    """There are no other nodes."""

    def on(self, name: str, handler: Handler) -> None:
        pass

    async def ask(self, name: str, question: Question, *, enough: int | None = None) -> Answers:
        return Answers()
