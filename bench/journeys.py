"""Five journeys through the code, counted: `python -m bench.journeys`.

Each journey is one act of a client, from its first byte until all that it causes has come. For each: calls of functions
of `app`, distinct functions, files, and moves from one file to another. `--trace NAME` prints the calls of one journey.
Timers and heart-beats that fall into a journey are left out by repeating it and taking the shortest.
"""

import argparse
import asyncio
import json
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

from app.main import create_app
from bench.load.flood import is_whole
from tests.api.service import settings
from tests.databases import migrated_database
from tests.frames import TEXT, masked
from tests.transports.serving import serving
from tests.valkey import running_valkey

APP = str(Path(__file__).parents[1] / "app") + "/"
ROUNDS = 5
QUIET_S = 0.06  # what a journey causes has come to its end
NAMES = ("push", "acknowledge", "subscribe", "persisted push", "xhr_send on the wrong node")
HANDSHAKE = (
    "GET /stomp-ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

Call = tuple[str, str]
"""File and function."""


class Calls:
    """Watches the thread that it is made in."""

    def __init__(self) -> None:
        self._calls: list[Call] | None = None
        sys.setprofile(self._note)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or self._calls is None or not code.co_filename.startswith(APP):
            return
        if code.co_name[0] != "<" or code.co_name == "<lambda>":  # a comprehension is no function to its reader
            self._calls.append((code.co_filename.removeprefix(APP), code.co_qualname))

    @contextmanager
    def counted(self, into: list[Sequence[Call]]) -> Iterator[None]:
        calls: list[Call] = []
        self._calls = calls
        yield
        time.sleep(QUIET_S)
        self._calls = None
        into.append(calls)


class Http:
    """A blocking HTTP client whose connection is kept."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.settimeout(10)

    def post(self, path: str, body: str) -> bytes:
        """Return the response, which needs a content-length or the status 204."""
        self._socket.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        data = b""
        while not (is_whole(data) or data.startswith(b"HTTP/1.1 204 ")):
            data += self._socket.recv(65_536)
        return data


class Client:
    """A blocking STOMP client, in a thread of its own."""

    def __init__(self, port: int, user: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.settimeout(10)
        self._socket.sendall(HANDSHAKE.encode())
        self.until(b"\r\n\r\n")
        self.send(f"CONNECT\naccept-version:1.2\nhost:a\nAuthorization:{user}\n\n\0")
        self.until(b"CONNECTED")

    def send(self, frame: str) -> None:
        self._socket.sendall(masked(TEXT, frame.encode()))

    def until(self, wanted: bytes) -> bytes:
        data = b""
        while wanted not in data:
            more = self._socket.recv(65_536)
            assert more, f"the server closed the connection after {data!r}"
            data += more
        return data


def on_one_node(port: int, calls: Calls, found: dict[str, list[Sequence[Call]]]) -> None:
    http, client = Http(port), Client(port, "test1")
    client.send("SUBSCRIBE\nid:0\ndestination:/user/queue/msg\nreceipt:1\n\n\0")
    client.until(b"RECEIPT")
    for number in range(ROUNDS):
        with calls.counted(found["push"]):
            http.post("/vh-stomp-wsend/push_all_obj/test1", "hello")
            message = client.until(b"\0")
        with calls.counted(found["acknowledge"]):
            client.send(f"SEND\ndestination:/app/ack\n\n{message_id(message)}\0")
        with calls.counted(found["persisted push"]):
            http.post("/vh-stomp-wsend/cluster/notify/test1", "hello")
            message = client.until(b"\0")
        client.send(f"SEND\ndestination:/app/ack\nreceipt:2\n\n{message_id(message)}\0")
        client.until(b"RECEIPT")
        http.post(f"/vh-stomp-wsend/push_all_obj/test-late-{number}", "hello")
        late = Client(port, f"test-late-{number}")
        time.sleep(QUIET_S)
        with calls.counted(found["subscribe"]):
            late.send("SUBSCRIBE\nid:0\ndestination:/user/queue/msg\n\n\0")
            late.until(b"MESSAGE")


def message_id(frame: bytes) -> str:
    return frame.partition(b"message-id:")[2].partition(b"\n")[0].decode()


def on_two_nodes(ports: Sequence[int], calls: Calls, found: dict[str, list[Sequence[Call]]]) -> None:
    own, other = map(Http, ports)
    for number in range(ROUNDS):
        path = f"/stomp-ws/000/journey{number}"
        own.post(f"{path}/xhr", "")
        frame = "CONNECT\naccept-version:1.2\nhost:a\nAuthorization:test1\n\n\0"
        with calls.counted(found["xhr_send on the wrong node"]):
            assert b" 204 " in other.post(f"{path}/xhr_send", json.dumps([frame]))


@asynccontextmanager
async def running(nodes: int, **options: Any) -> AsyncIterator[Sequence[int]]:
    async with AsyncExitStack() as stack:
        ports: list[int] = []
        for _ in range(nodes):
            url = stack.enter_context(migrated_database("sqlite"))
            chosen = settings(database_url=url, **options)
            app = create_app(chosen)
            ports.append(await stack.enter_async_context(serving(app, settings=chosen, lifespan="on")))
        yield ports


async def count(found: dict[str, list[Sequence[Call]]]) -> None:
    calls = Calls()
    async with running(1) as (port,):
        await in_thread(lambda: on_one_node(port, calls, found))
    with running_valkey() as valkey:
        async with running(2, redis_url=valkey.url) as ports:
            await in_thread(lambda: on_two_nodes(ports, calls, found))


async def in_thread(work: Callable[[], None]) -> None:
    """The default executor would be profiled from its start on."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # raised again below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():  # noqa: ASYNC110 — a thread does not tell
        await asyncio.sleep(0.01)
    if failures:
        raise failures[0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.journeys", description=__doc__)
    parser.add_argument("--trace", choices=NAMES, help="print the calls of one journey")
    arguments = parser.parse_args()
    found: dict[str, list[Sequence[Call]]] = {name: [] for name in NAMES}
    asyncio.run(count(found))
    for name, rounds in found.items():
        calls = min(rounds, key=len)
        files = [file for file, _ in calls]
        moves = sum(one != other for one, other in pairwise(files))
        sys.stdout.write(f"{name:28} calls {len(calls):4}  functions {len(set(calls)):4}")
        sys.stdout.write(f"  files {len(set(files)):3}  moves {moves:4}\n")
        if name == arguments.trace:
            sys.stdout.writelines(f"    {file:34} {function}\n" for file, function in calls)


if __name__ == "__main__":
    main()
