"""Floods of connections, on raw sockets: what each limit answers, and that users keep their places.

Strangers and users have addresses of their own where that matters; elsewhere both are behind one address.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx

from tests.abuse.raw import Raw, ask, close_frame, get, many, refused, undated
from tests.e2e.backend import PUSH
from tests.frames import HANDSHAKE
from tests.service import Server, running_server

STRANGER, NEIGHBOUR, PROXY = "127.0.0.7", "127.0.0.6", "127.0.0.8"
NODE_FULL = "this node has as many connections as it may have"
ADDRESS_FULL = "there are too many connections from your address"
TOO_FAST = "there are too many attempts to connect from your address"
DISPLACED = close_frame(1013, "too many connections, try again later")
CLOSING_S = 20.0


@contextmanager
def users(port: int, count: int) -> Iterator[list[Raw]]:
    """Sessions of so many users: test0, test1, …"""
    with ExitStack() as stack:
        yield [stack.enter_context(Raw(port)).connect(f"test{number}") for number in range(count)]


def push(server: Server, user: str, text: str) -> None:
    answer = httpx.post(f"{server.url}{PUSH}/push_all_obj/{user}", content=text, timeout=30)
    assert (answer.status_code, answer.json()["sessions"]) == (200, 1)


def becomes(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + CLOSING_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not become so"
        time.sleep(0.02)


# The node


def test_full_node_refuses_http_and_websocket_answers_probes_and_takes_the_next_when_one_leaves() -> None:
    with running_server(MAX_CONNECTIONS="9") as server, users(server.port, 9) as sessions:
        assert ask(server.port, get("/openapi.json")) == refused(NODE_FULL)
        assert ask(server.port, HANDSHAKE) == refused(NODE_FULL)
        for probe in ("/healthz", "/readyz"):
            assert ask(server.port, get(probe)).startswith(b"HTTP/1.1 200 OK\r\n")
            # A push to a user of that name is no probe.
            request = get("/vh-stomp-wsend/push_all_obj" + probe).replace(b"GET ", b"POST ")
            assert ask(server.port, request) == refused(NODE_FULL)
        assert all(session.is_open() for session in sessions)

        sessions[0].socket.close()
        becomes(lambda: ask(server.port, get("/openapi.json", "Connection: close")).startswith(b"HTTP/1.1 200 OK\r\n"))


def test_websockets_leave_places_for_pushes() -> None:
    with running_server(MAX_CONNECTIONS="20") as server, users(server.port, 18) as sessions:
        assert ask(server.port, HANDSHAKE) == refused(NODE_FULL)

        push(server, "test3", "it has room")
        assert b"it has room" in sessions[3].until(b"it has room")


def test_on_a_full_node_the_silent_make_room() -> None:
    with (
        running_server(MAX_CONNECTIONS="12") as server,
        users(server.port, 4) as sessions,
        many(server.port, 30, STRANGER) as silent,
        Raw(server.port).connect("test-late") as late,
    ):
        push(server, "test-late", "hello")
        late.until(b"hello")
        becomes(lambda: sum(raw.is_open() for raw in silent) <= 12 - 5)
        assert all(session.is_open() for session in sessions)


# One address


def test_connections_of_one_address_are_limited() -> None:
    with running_server(MAX_CONNECTIONS_PER_ADDRESS="3") as server, many(server.port, 3, STRANGER) as three:
        for raw in three:
            assert raw.upgrade().startswith(b"HTTP/1.1 101 ")
        assert ask(server.port, HANDSHAKE, STRANGER) == refused(ADDRESS_FULL)
        assert ask(server.port, get("/openapi.json"), STRANGER) == refused(ADDRESS_FULL)

        with Raw(server.port, NEIGHBOUR).connect("test1"):
            pass
        three[0].socket.close()
        becomes(lambda: ask(server.port, get("/healthz", "Connection: close"), STRANGER).startswith(b"HTTP/1.1 200 "))
        becomes(lambda: ask(server.port, get("/nope", "Connection: close"), STRANGER).startswith(b"HTTP/1.1 404 "))


def test_behind_a_trusted_proxy_the_address_is_that_of_the_client() -> None:
    env = {"TRUSTED_PROXIES": f"{PROXY}, 10.0.0.0/8", "MAX_CONNECTIONS_PER_ADDRESS": "2"}
    first, second = "X-Forwarded-For: 1.1.1.1, 192.0.2.1", 'Forwarded: for="192.0.2.1:80";proto=https, for=10.1.2.3'
    v6, same_v6, other_v6 = (f"X-Forwarded-For: 2001:db8:{end}" for end in (":1", ":2", "0:1::1"))
    with running_server(**env) as server, ExitStack() as stack:

        def head(line: str, source: str = PROXY) -> bytes:
            return stack.enter_context(Raw(server.port, source)).upgrade(line)[:12]

        opened, closed = b"HTTP/1.1 101", b"HTTP/1.1 503"
        assert [head(first), head(second), head(first), head(second)] == [opened, opened, closed, closed]
        assert head("X-Forwarded-For: 192.0.2.2") == opened
        assert [head(line) for line in (v6, same_v6, v6, same_v6, other_v6)] == [opened, opened, closed, closed, opened]
        # neither from an address that is not a proxy's, nor where a client added what the proxy did not remove
        assert head(first, STRANGER) == opened
        assert head("X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.9") == opened


def test_logs_and_lists_name_the_client_behind_a_trusted_proxy() -> None:
    with running_server(TRUSTED_PROXIES=PROXY) as server:
        with Raw(server.port, PROXY).connect("test1", "X-Forwarded-For: 2001:db8::7"):
            (session,) = httpx.get(f"{server.url}/api/sessions/test1").json()["items"]
            assert session["remote"] == "[2001:db8::7]"
        with Raw(server.port, PROXY) as bad:
            bad.upgrade("X-Forwarded-For: 192.0.2.5:4711")
            bad.frame("CONNECT\naccept-version:1.2\nhost:x\npasscode:wrong\n\n\0")
            bad.until(b"The token is illegal")
        becomes(lambda: "connection from 192.0.2.5:4711 refused" in server.log())


def test_attempts_of_one_address_are_limited_and_those_of_users_given_back() -> None:
    with running_server(MAX_ATTEMPTS_PER_S="1") as server:
        for _ in range(15):
            with Raw(server.port, STRANGER).connect("test1"):
                pass

        heads: list[bytes] = []
        started_s = time.monotonic()
        while not heads or heads[-1] == b"HTTP/1.1 101 ":
            with Raw(server.port, STRANGER) as raw:
                heads.append(raw.upgrade()[:13])
        assert heads[-1] == b"HTTP/1.1 503 "
        assert 10 <= len(heads) - 1 <= 11 + time.monotonic() - started_s
        assert ask(server.port, HANDSHAKE, STRANGER) == refused(TOO_FAST)
        sockjs = ask(server.port, xhr("flood"), STRANGER)
        assert sockjs.startswith(b"HTTP/1.1 503 ")
        assert sockjs.endswith(f"{TOO_FAST}; try again later".encode())
        assert b"\r\nretry-after: 1\r\n" in sockjs
        with Raw(server.port, NEIGHBOUR).connect("test2"):
            pass


# The unauthenticated


def test_oldest_websocket_of_the_address_with_the_most_makes_room() -> None:
    with running_server(MAX_UNAUTHENTICATED="5") as server, Raw(server.port, NEIGHBOUR) as newcomer:
        newcomer.upgrade()
        with users(server.port, 3) as sessions, ExitStack() as stack:
            flood = []
            for _ in range(5):  # one after the other: as long as they are silent they are of another kind
                flood.append(stack.enter_context(Raw(server.port, STRANGER)))
                assert flood[-1].upgrade().startswith(b"HTTP/1.1 101 ")

            assert flood[0].rest() == DISPLACED
            assert all(raw.is_open() for raw in [newcomer, *sessions, *flood[2:]])
        newcomer.frame("CONNECT\naccept-version:1.2\nhost:x\npasscode:test9\n\n\0")
        newcomer.until(b"CONNECTED\n")


def test_kept_connection_of_a_back_end_outlives_silent_ones_that_are_younger() -> None:
    with running_server(MAX_UNAUTHENTICATED="3") as server, Raw(server.port) as kept, ExitStack() as stack:

        def ask_again() -> None:
            assert kept.send(get("/healthz")).until(b"}").startswith(b"HTTP/1.1 200 OK\r\n")

        silent = []
        for _ in range(6):
            ask_again()
            silent.append(stack.enter_context(Raw(server.port)))
        ask_again()
        becomes(lambda: [raw.is_open() for raw in silent] == [False] * 4 + [True] * 2)


def test_three_thousand_silent_sockets_keep_nobody_out() -> None:
    with running_server(MAX_UNAUTHENTICATED="1000") as server, many(server.port, 3000) as silent:
        with Raw(server.port).connect("test1") as user:
            push(server, "test1", "still here")
            user.until(b"still here")
            becomes(lambda: sum(raw.is_open() for raw in silent) <= 1000)
            assert sum(raw.is_open() for raw in silent) >= 990
        assert len(re.findall(r"connections refused: .*\(displaced\)", server.log())) == 1


# SockJS


def test_flood_of_sockjs_sessions_keeps_no_user_out() -> None:
    with running_server(SOCKJS_MAX_SESSIONS="40") as server, Raw(server.port) as connection:
        flood(server.port, 60, "before")
        user = SockJsUser(connection)
        user.connect("test1")
        flood(server.port, 60, "after")

        push(server, "test1", "among strangers")
        assert "among strangers" in user.poll()
        assert "(displaced)" in server.log()


def test_users_who_hold_all_sockjs_sessions_keep_them() -> None:
    with running_server(SOCKJS_MAX_SESSIONS="2") as server, Raw(server.port) as one, Raw(server.port) as two:
        for number, connection in enumerate((one, two)):
            flood(server.port, 1, f"stranger{number}-")
            SockJsUser(connection, f"user{number}").connect(f"test{number}")

        answer = ask(server.port, xhr("stranger"))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert answer.endswith(b"there are too many SockJS sessions on this node; try again later")


class SockJsUser:
    """Polls on one connection."""

    def __init__(self, connection: Raw, session: str = "user") -> None:
        self._connection = connection
        self._session = session

    def connect(self, user: str) -> None:
        assert self.poll() == "o\n"
        self.send(f"CONNECT\naccept-version:1.2\nhost:x\nheart-beat:0,0\npasscode:{user}\n\n\0")
        assert "CONNECTED" in self.poll()
        self.send("SUBSCRIBE\nid:0\ndestination:/user/queue/msg\nreceipt:r\n\n\0")
        assert "RECEIPT" in self.poll()

    def poll(self) -> str:
        answer = self._connection.send(xhr(self._session, close=False)).until(b"\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        size = int(re.findall(rb"content-length: (\d+)", head)[0])
        while len(body) < size:
            body += self._connection.socket.recv(65_536)
        return body.decode()

    def send(self, frame: str) -> None:
        body = json.dumps([frame]).encode()
        path = f"/stomp-ws/000/{self._session}/xhr_send".encode()
        self._connection.send(
            b"POST %b HTTP/1.1\r\nHost: service.test\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)
        )
        assert self._connection.until(b"\r\n\r\n").startswith(b"HTTP/1.1 204 ")


def xhr(session: str, *, close: bool = True) -> bytes:
    last = b"Connection: close\r\n" if close else b""
    return b"POST /stomp-ws/000/%b/xhr HTTP/1.1\r\nHost: service.test\r\n%bContent-Length: 0\r\n\r\n" % (
        session.encode(),
        last,
    )


def flood(port: int, count: int, name: str) -> None:
    """Every one is answered: with its opening, or with a refusal that may pass."""
    for number in range(count):
        assert ask(port, xhr(f"{name}{number}")).split(b" ", 2)[1] in (b"200", b"503")


# Open files

LOW_LIMIT = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
from app.cli.commands import main
main()
"""


def test_at_the_limit_of_open_files_sessions_and_probes_live_and_one_line_gives_advice() -> None:
    with (
        running_server(("-c", LOW_LIMIT)) as server,
        Raw(server.port) as backend,
        users(server.port, 90) as sessions,
        many(server.port, 9) as busy,
    ):
        for raw in busy:  # requests whose bodies never end
            raw.send(b"POST /vh-stomp-wsend/push_all_obj/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
        body = b"POST /vh-stomp-wsend/push_all_obj/test7 HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\nat last"
        backend.send(body[:-1])  # under way, and not to be displaced
        becomes(lambda: ask(server.port, get("/openapi.json", "Connection: close")) == refused(NODE_FULL))

        with many(server.port, 150) as rest:
            assert ask(server.port, get("/healthz")).startswith(b"HTTP/1.1 200 OK\r\n")
            assert undated(rest[-1].send(get("/openapi.json")).rest()) == refused(NODE_FULL)
            backend.send(body[-1:])
            assert backend.until(b'"sessions"').startswith(b"HTTP/1.1 200 OK\r\n")
            sessions[7].until(b"at last")
            assert all(session.is_open() for session in sessions)
        lines = [line for line in server.log().splitlines() if "(file_limit)" in line]
        assert len(lines) == 1
        assert "raise it (ulimit -n, LimitNOFILE= of systemd, --ulimit nofile of Docker)" in lines[0]
