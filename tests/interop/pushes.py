"""What an HTTP client is told to do in the tests of this folder, and what it tells of it.

A plan is a list of pushes. For each the client sends a POST, and then `GET /healthz` to see whether the connection is
still in order. Clients in other languages read the plan from a file and print what came:

    mode <TAB> path <TAB> content type <TAB> part of the body in base64 [<TAB> second part]
    status <TAB> body in base64 <TAB> status of the GET <TAB> its body in base64
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

PUSH = "/vh-stomp-wsend"
TEXT, JSON = "text/plain; charset=utf-8", "application/json"
FILLER = "订单 a:b\\c " * 100  # two segments, even after a cut in the middle of a character


@dataclass(frozen=True, slots=True)
class Case:
    """A push and the data of the messages that are to come of it. `parts` are sent one by one, with a pause between."""

    mode: str
    path: str
    content_type: str
    parts: Sequence[bytes]
    data: Sequence[Any]

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    @property
    def line(self) -> str:
        return "\t".join([self.mode, self.path, self.content_type, *(b64encode(part).decode() for part in self.parts)])


@dataclass(frozen=True, slots=True)
class Result:
    status: int
    body: bytes
    next_status: int
    next_body: bytes

    @classmethod
    def parse(cls, line: str) -> "Result":
        status, body, next_status, next_body = line.split("\t")
        return cls(int(status), b64decode(body), int(next_status), b64decode(next_body))


def make_plan(modes: Sequence[str], user: str) -> list[Case]:
    """Every push route in every mode. `*-one` sends a body at once, other modes in two parts."""
    return [case for mode in modes for case in _pushes(mode, user)]


def _pushes(mode: str, user: str) -> Iterator[Case]:
    def case(path: str, content_type: str, body: str, *data: Any) -> Case:
        whole = body.encode()
        cut = whole.index("订".encode()) + 1
        parts = [whole] if mode.endswith("-one") else [whole[:cut], whole[cut:]]
        return Case(mode, PUSH + path, content_type, parts, data)

    for path in (f"/push_all_obj/{user}", f"/cluster/notify/{user}", "/push_all_obj", f"/push_topic/{user}"):
        text = f"{mode} {path} {FILLER}"
        yield case(path, TEXT, text, text)
    data = [{"push": f"{mode} {number}", "text": FILLER} for number in range(3)]
    message, *batch = ({"receiver": user, "data": value} for value in data)
    yield case("/push_msg", JSON, json.dumps(message, ensure_ascii=False), data[0])
    yield case("/push_batch", JSON, json.dumps(batch, ensure_ascii=False), *data[1:])
