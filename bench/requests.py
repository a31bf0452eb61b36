"""The requests that back ends send."""

import json
from collections.abc import Sequence

from bench.load.wire import request

BODY = "x" * 256


def broadcast(body: str = BODY) -> bytes:
    return request("/vh-stomp-wsend/push_all_obj", body.encode())


def push(user: str, body: str = BODY) -> bytes:
    return request(f"/vh-stomp-wsend/push_all_obj/{user}", body.encode())


def batch(users: Sequence[str], size: int, body: str = BODY) -> bytes:
    """`size` messages for these users in turn."""
    items = [{"receiver": users[number % len(users)], "data": body} for number in range(size)]
    return request("/vh-stomp-wsend/push_batch", json.dumps(items).encode(), "application/json")


def empty() -> bytes:
    return request("/empty", BODY.encode())
