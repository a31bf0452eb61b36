"""The owner side: serves sessions of this node to requests at other nodes."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

from app.errors import Unavailable
from app.sockjs.cluster.messages import (
    Attach,
    Attached,
    End,
    Forward,
    Frame,
    Full,
    Next,
    NotFound,
    Reply,
    Taken,
)
from app.sockjs.cluster.window import WindowedChannel
from app.sockjs.session import Busy, Lease, OneFrame, Queued, SockJsSession
from app.timing.clock import Clock
from app.timing.tasks import TaskOwner

WRITE_TIMEOUT_S = 30.0  # for the proxy to write a frame to its client

FindSession = Callable[[str], SockJsSession | None]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RemoteRequest:
    """A receiving request at a proxy.

    `until_s`: when its frame must have been written, or its client counts as gone; for a request of one frame, when
    the proxy can no longer report the frame as lost.
    """

    source: Lease | OneFrame | Queued
    once: bool
    until_s: float | None = None


class Owner:
    """Sends each request of a proxy a frame, and the next when the proxy has written that one.

    A request of one frame ends before its frame is sent, because the client's next request may arrive at a third node.
    A frame that is lost between nodes ends the session; the proxy reports it within `silence_s`.
    """

    def __init__(
        self, channel: WindowedChannel, find: FindSession, *, clock: Clock, tasks: TaskOwner, silence_s: float
    ) -> None:
        self._channel = channel
        self._clock = clock
        self._tasks = tasks
        self._silence_s = silence_s
        self._requests: dict[tuple[str, int], RemoteRequest] = {}
        self.find = find

    # Messages of proxies

    def attach(self, sender: str, message: Attach) -> None:
        session = self.find(message.session)
        if session is None:
            self._tell(sender, NotFound(message.number))
            return
        request = self._requests[sender, message.number] = RemoteRequest(session.attach(), message.once)
        self._tasks.start(self._send_first(sender, message, request), f"frames for node {sender}")

    def next(self, sender: str, message: Next) -> None:
        request = self._requests.get((sender, message.number))
        if request is None:
            self._tell(sender, End(message.number))
            return
        request.until_s = None
        self._tasks.start(self._send_frame(sender, message, request), f"frames for node {sender}")

    def finish(self, sender: str, number: int) -> None:
        """End a request and reply: the client may come to this node next, ahead of messages between nodes."""
        request = self._requests.pop((sender, number), None)
        if request is not None:
            request.source.finish_now()
        self._tell(sender, End(number))

    def release(self, sender: str, number: int) -> None:
        """End a request whose client has gone; a frame that was sent to it is lost."""
        request = self._requests.pop((sender, number), None)
        if request is not None:
            request.source.lose()

    def forward(self, sender: str, message: Forward) -> None:
        self._tasks.start(self._take(sender, message), f"messages by way of node {sender}")

    # Replies

    async def _send_first(self, sender: str, message: Attach, request: RemoteRequest) -> None:
        if request.source.is_ready or await self._reply(sender, Attached(message.number)):
            await self._send_frame(sender, message, request)
        else:
            self.release(sender, message.number)

    async def _send_frame(self, sender: str, message: Attach | Next, request: RemoteRequest) -> None:
        frame = await request.source.next(message.max_bytes)
        if frame is None:
            self.finish(sender, message.number)
            return
        if request.once:
            request.source.finish_now()
        request.until_s = self._clock.monotonic() + (self._silence_s if request.once else WRITE_TIMEOUT_S)
        if not await self._reply(sender, Frame(message.number, frame)):
            self.release(sender, message.number)

    async def _take(self, sender: str, message: Forward) -> None:
        session = self.find(message.session)
        if session is None:
            await self._reply(sender, NotFound(message.number))
            return
        try:
            await session.receive(json.loads(message.body))
        except Busy:
            await self._reply(sender, Full(message.number))
        else:
            await self._reply(sender, Taken(message.number))

    def _tell(self, sender: str, reply: Reply) -> None:
        self._tasks.start(self._say(sender, reply), f"reply to node {sender}")

    async def _say(self, sender: str, reply: Reply) -> None:
        await self._reply(sender, reply)

    async def _reply(self, sender: str, reply: Reply) -> bool:
        try:
            return await self._channel.send(sender, reply)
        except Unavailable as error:
            logger.info("node %s cannot be sent %s: %s", sender, type(reply).__name__, error)
            return False

    # Time

    def tick(self, now: float) -> None:
        """Release the requests whose frame was not written in time."""
        for key, request in tuple(self._requests.items()):
            if request.until_s is not None and now > request.until_s:
                del self._requests[key]
                request.source.release()
