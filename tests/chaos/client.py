"""A device that stays connected: it receives, acknowledges with receipts, and reconnects when it may."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.typing import Subprotocol

from tests.chaos.journal import LEFT, TAG, Acks, Journal, Reception, Session
from tests.chaos.stomp import HEARTBEAT, Decoder, Frame, encode

HEARTBEAT_MS = 10_000
SILENCE_S = 25.0
HANDSHAKE_S = 8.0
OPEN_S = 4.0
STAY_S, AWAY_S = 5.0, 2.0  # of a client that wanders
ACK_PACE_S = 0.03  # below the frames per second that the service allows
MAX_PAUSE_S = 2.0
LOST, SILENT = 1006, -1  # no close frame; nothing heard for SILENCE_S
EXPECTED = {LEFT, 1001, LOST, 1012, 1013, 4011, 4012, SILENT}
COME_BACK = EXPECTED | {1009, 1011, 4008, 4013}  # after any other code a client stays away


@dataclass(frozen=True)
class Manner:
    """How a client behaves.

    `ack_after_s` None: it never acknowledges. `wanders`: it leaves every few seconds and comes back, until the run
    settles. `drop` is the share of first copies that it loses.
    """

    ack_after_s: float | None = 0.0
    wanders: bool = False
    has_device: bool = False
    drop: float = 0.0


class Client:
    """One app installation of a user; `run` keeps one session open until it is cancelled."""

    def __init__(
        self, name: str, user: str, ports: Sequence[int], journal: Journal, manner: Manner, source: random.Random
    ) -> None:
        self.name = name
        self.subscribed = asyncio.Event()
        """Set once its first session has subscribed."""
        self._session: Session | None = None
        self._user = user
        self._ports = ports
        self._journal = journal
        self._manner = manner
        self._source = source
        self._acks = journal.acks.setdefault(name, Acks())
        journal.owners[name] = user
        self._last_code = LEFT
        self._waiting: list[str] = []
        self._receipts: dict[str, list[str]] = {}
        self._numbers = 0
        self._seen: set[str] = set()

    async def run(self) -> None:
        node, pause_s = self._source.randrange(len(self._ports)), 0.0
        while True:
            session = Session(self.name, self._user, self._manner.has_device, node)
            self._session = session
            code = session.code = self._last_code = await self._live(session)
            self._journal.closes[code] += 1
            if code not in EXPECTED:
                self._journal.unexpected_closes.append(f"{code} at {self.name} ({self._user}) on n{node}")
            if code not in COME_BACK:
                return
            if session.subscribed_s is not None:
                pause_s = 0.0
            pause_s = AWAY_S if code == LEFT else min(max(0.1, pause_s * 2), MAX_PAUSE_S)
            await asyncio.sleep(pause_s * self._source.uniform(0.5, 1.5))
            node = self._source.randrange(len(self._ports))

    async def _live(self, session: Session) -> int:
        """Hold one session until its end. Return the close code."""
        url = f"ws://127.0.0.1:{self._ports[session.node]}/stomp-ws"
        try:
            async with connect(
                url,
                subprotocols=[Subprotocol("v12.stomp")],
                open_timeout=OPEN_S,
                close_timeout=0.2,
                ping_interval=None,
                compression=None,
                max_size=None,
                proxy=None,
            ) as websocket:
                try:
                    await self._talk(websocket, session)
                finally:
                    session.ended_s = time.monotonic()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else LOST
        except (OSError, TimeoutError, InvalidHandshake, InvalidMessage, EOFError):
            return LOST
        return SILENT

    async def _talk(self, websocket: ClientConnection, session: Session) -> None:
        """Return after a silence that means a dead connection. Raises ConnectionClosed and TimeoutError."""
        self._waiting.clear()
        self._receipts.clear()
        inbound = Inbound(websocket)
        headers = {"accept-version": "1.2", "host": "chaos", "Authorization": f"Bearer {self._user}"}
        headers["heart-beat"] = f"{HEARTBEAT_MS},{HEARTBEAT_MS}"
        if self._manner.has_device:
            headers["client-id"] = self.name
        await websocket.send(encode("CONNECT", headers))
        async with asyncio.timeout(HANDSHAKE_S):
            await inbound.expect("CONNECTED")
        self._journal.sessions.append(session)
        subscribe = {"id": "s", "destination": "/user/queue/msg", "receipt": "subscribed"}
        await websocket.send(encode("SUBSCRIBE", subscribe))
        work = [self._send_acks(websocket), self._wander(websocket), _beat(websocket)]
        helpers = [asyncio.create_task(helper) for helper in work]
        try:
            await self._read(inbound, session)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _wander(self, websocket: ClientConnection) -> None:
        if self._manner.wanders:
            await asyncio.sleep(STAY_S * self._source.uniform(0.5, 1.5))
            if not self._journal.is_settling:
                await websocket.close()

    async def _read(self, inbound: "Inbound", session: Session) -> None:
        while (frame := await inbound.frame()) is not None:
            now_s = time.monotonic()
            if frame.command == "MESSAGE":
                self._on_message(frame, session, now_s)
            elif frame.command == "RECEIPT":
                self._on_receipt(frame.headers["receipt-id"], session, now_s)

    def _on_message(self, frame: Frame, session: Session, now_s: float) -> None:
        data = json.loads(frame.body)["data"]
        if not (isinstance(data, str) and data.startswith(TAG)):
            return
        message_id, tag = frame.headers["message-id"], data.partition(" ")[0]
        push = self._journal.pushes.get(tag)
        is_private = push is not None and push.receiver is not None
        is_first = message_id not in self._seen
        self._seen.add(message_id)
        if is_first:
            self._journal.last_reception_s = now_s
        is_dropped = is_first and is_private and self._source.random() < self._manner.drop
        redelivered = frame.headers.get("redelivered") == "true"
        session.received.append(Reception(now_s, message_id, tag, redelivered, is_dropped))
        if self._manner.ack_after_s is None or not is_private or is_dropped:
            return
        if self._manner.ack_after_s:
            delay_s = self._manner.ack_after_s * self._source.uniform(0.5, 1.5)
            asyncio.get_running_loop().call_later(delay_s, self._acknowledge, session, message_id)
        else:
            self._acknowledge(session, message_id)

    def _acknowledge(self, session: Session, message_id: str) -> None:
        if session is self._session and session.ended_s is None:
            self._waiting.append(message_id)

    def _on_receipt(self, receipt: str, session: Session, now_s: float) -> None:
        if receipt == "subscribed":
            session.subscribed_s = now_s
            self.subscribed.set()
            if self._last_code != LEFT:
                self._journal.last_trouble_s = now_s
            return
        for message_id in self._receipts.pop(receipt, ()):
            self._acks.confirmed_s.setdefault(message_id, now_s)

    async def _send_acks(self, websocket: ClientConnection) -> None:
        """Send each acknowledgement as a frame of its own; what gathers in a replay goes as one array."""
        while True:
            await asyncio.sleep(ACK_PACE_S)
            if not self._waiting:
                continue
            ids, self._waiting = self._waiting, []
            self._numbers += 1
            receipt = f"ack-{self._numbers}"
            self._receipts[receipt] = ids
            now_s = time.monotonic()
            for message_id in ids:
                self._acks.sent_s.setdefault(message_id, now_s)
            body = ids[0] if len(ids) == 1 else json.dumps(ids)
            try:
                await websocket.send(encode("SEND", {"destination": "/app/ack", "receipt": receipt}, body))
            except ConnectionClosed:
                return


class Inbound:
    """The frames of a connection."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self._decoder = Decoder()
        self._frames: list[Frame] = []

    async def frame(self) -> Frame | None:
        """Return the next frame, or None after a silence longer than a living server keeps."""
        while not self._frames:
            try:
                async with asyncio.timeout(SILENCE_S):
                    data = await self._websocket.recv()
            except TimeoutError:
                return None
            self._frames.extend(self._decoder.feed(data.encode() if isinstance(data, str) else data))
        return self._frames.pop(0)

    async def expect(self, command: str) -> None:
        """Wait for a frame; after an ERROR, for the close that follows it."""
        while (frame := await self.frame()) is not None:
            if frame.command == command:
                return
        raise TimeoutError


async def _beat(websocket: ClientConnection) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_MS / 1000)
        try:
            await websocket.send(HEARTBEAT.decode())
        except ConnectionClosed:
            return
