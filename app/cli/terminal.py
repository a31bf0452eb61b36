"""A STOMP client for the terminal: prints messages and acknowledges them."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from app.messages.destinations import APP_ACK, USER_ERRORS, USER_MESSAGES
from app.stomp.codec import encode_frame
from app.stomp.frames import Frame, FrameLimits, Version
from app.stomp.parser import FrameParser

HEARTBEAT_MS = 10_000
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
STOP_FROM = 4500  # close codes from here on tell a client not to reconnect


class SessionRefused(Exception):
    """The service closed the session with a code that forbids to reconnect; the text is its reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    url: str
    token: str
    acknowledge: bool = True
    topics: tuple[str, ...] = ()


async def listen(options: ListenOptions, show: Callable[[str], None]) -> None:
    """Print messages until cancelled, and reconnect after a lost connection. Raises SessionRefused."""
    delay_s = FIRST_DELAY_S
    while True:
        try:
            async with connect(
                options.url, subprotocols=[Subprotocol("v12.stomp")], max_size=MAX_MESSAGE_BYTES
            ) as websocket:
                await _open(websocket, options)
                async for frame in _frames(websocket):
                    delay_s = FIRST_DELAY_S
                    await _answer(websocket, frame, options, show)
            reason = "the connection ended"
        except ConnectionClosed as closed:
            reason = str(closed)
            if closed.rcvd is not None and closed.rcvd.code >= STOP_FROM:
                raise SessionRefused(closed.rcvd.reason) from None
        except (OSError, InvalidHandshake) as error:
            reason = str(error)
        wait_s = random.uniform(0, delay_s)  # clients that were disconnected together come back one by one
        show(f"- {reason}; again in {wait_s:.1f} s")
        await asyncio.sleep(wait_s)
        delay_s = min(2 * delay_s, LONGEST_DELAY_S)


async def _open(websocket: ClientConnection, options: ListenOptions) -> None:
    headers = {
        "accept-version": str(Version.V12),
        "host": "stomp-notify",
        "heart-beat": f"0,{HEARTBEAT_MS}",
        "Authorization": f"Bearer {options.token}",
    }
    await _send(websocket, "CONNECT", headers)


async def _answer(
    websocket: ClientConnection, frame: Frame, options: ListenOptions, show: Callable[[str], None]
) -> None:
    if frame.command == "CONNECTED":
        show(f"- connected as {frame.headers.get('user-name')}, session {frame.headers.get('session')}")
        for number, destination in enumerate((USER_MESSAGES, USER_ERRORS, *options.topics)):
            await _send(websocket, "SUBSCRIBE", {"id": f"sub-{number}", "destination": destination})
    elif frame.command == "ERROR":
        show(f"! {frame.headers.get('message')}: {frame.body.decode(errors='replace')}")
    elif frame.command == "MESSAGE":
        show(_describe(frame))
        if options.acknowledge and frame.headers["destination"] == USER_MESSAGES:
            await _send(websocket, "SEND", {"destination": APP_ACK}, frame.headers["message-id"].encode())


def _describe(frame: Frame) -> str:
    text = frame.body.decode(errors="replace")
    attempt = frame.headers.get("attempt")
    again = f" (attempt {attempt})" if attempt else ""
    try:
        message = json.loads(text)
        text = f"{message['type']} {json.dumps(message['data'], ensure_ascii=False)}"
    except (ValueError, KeyError, TypeError):
        pass
    return f"> {frame.headers['message-id']}{again} {text}"


async def _send(websocket: ClientConnection, command: str, headers: dict[str, str], body: bytes = b"") -> None:
    await websocket.send(encode_frame(command, headers.items(), body, version=Version.V12).decode())


async def _frames(websocket: ClientConnection) -> AsyncIterator[Frame]:
    parser = FrameParser(FrameLimits(max_frame_bytes=MAX_MESSAGE_BYTES))
    parser.version = Version.V12
    async for data in websocket:
        parser.feed(data.encode() if isinstance(data, str) else data)
        while (frame := parser.next_frame()) is not None:
            yield frame
