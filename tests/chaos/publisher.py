"""A back end that pushes one message after the other, and repeats a request until it is answered."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from tests.chaos.journal import TAG, Journal, Push

PREFIX = "/vh-stomp-wsend"
REQUEST_TIMEOUT_S = 8.0
PATIENCE_S = 40.0
MAX_PAUSE_S = 0.4
BATCH = 5
MAX_PADDING = 300
PASSING = {409, 429, 503}
# Weights. Every third publisher pushes what needs no database, so that one that is away does not stop everything.
TRANSIENT = {"plain": 20, "own id": 25, "broadcast": 2}
KINDS = {
    "plain": 20,
    "own id": 25,
    "key": 20,
    "stored, key": 8,
    "stored, own id": 7,
    "stored": 4,
    "batch, own ids": 5,
    "batch, key": 5,
    "broadcast": 2,
}


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    content: str
    pushes: Sequence[Push]
    is_batch: bool


class Publisher:
    """Sequential, so that the order in which its pushes were accepted means something."""

    def __init__(
        self, number: int, users: Sequence[str], urls: Sequence[str], journal: Journal, source: random.Random
    ) -> None:
        self._number = number
        self._kinds = KINDS if number % 3 else TRANSIENT
        self._users = users
        self._urls = urls
        self._journal = journal
        self._source = source
        self._numbers = count(1)
        self._order = count(1)
        self._run = f"{source.getrandbits(32):08x}"

    async def publish(self, stop: asyncio.Event, pause_s: float) -> None:
        """Push until `stop`; the last request is still repeated until it is answered."""
        limits = httpx.Limits(max_connections=10, max_keepalive_connections=10)
        async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S, limits=limits, trust_env=False) as http:
            while not stop.is_set():
                await self._settle(http, self._next())
                await asyncio.sleep(min(self._source.expovariate(1 / pause_s), 10 * pause_s))

    # Requests

    def _next(self) -> Request:
        kind = self._source.choices(list(self._kinds), list(self._kinds.values()))[0]
        pushes = [self._push(kind) for _ in range(BATCH if kind.startswith("batch") else 1)]
        for push in pushes:
            push.begun, push.accepted = next(self._order), next(self._order)
            push.began_s = time.monotonic()
            self._journal.pushes[push.tag] = push
        headers = {"Idempotency-Key": f"key-{pushes[0].tag}"} if "key" in kind else {}
        bodies = [f"{push.tag} {'x' * self._source.randrange(MAX_PADDING)}" for push in pushes]
        if kind.startswith("batch"):
            items = [_message(push, body) for push, body in zip(pushes, bodies, strict=True)]
            return Request("/push_batch", headers, json.dumps(items), pushes, True)
        push, body = pushes[0], bodies[0]
        if push.own_id is not None:
            return Request("/push_msg", headers, json.dumps(_message(push, body)), pushes, False)
        if push.receiver is None:
            return Request("/push_all_obj", headers, body, pushes, False)
        path = "/cluster/notify/" if push.persisted else "/push_all_obj/"
        return Request(path + push.receiver, headers, body, pushes, False)

    def _push(self, kind: str) -> Push:
        tag = f"{TAG}{self._run}/{self._number}/{next(self._numbers)}"
        stored = kind.startswith("stored") or (kind.startswith("batch") and self._source.random() < 0.3)
        return Push(
            tag=tag,
            publisher=self._number,
            receiver=None if kind == "broadcast" else self._source.choice(self._users),
            kind=kind,
            persisted=stored,
            own_id=tag.replace("/", ".") if "own id" in kind else None,
            repeatable="own id" in kind or "key" in kind,
        )

    # Answers

    async def _settle(self, http: httpx.AsyncClient, request: Request) -> None:
        """Send a request until every push of it has an outcome; each time through another node."""
        node = self._source.randrange(len(self._urls))
        deadline_s = time.monotonic() + PATIENCE_S
        pause_s = 0.1
        while await self._attempt(http, self._urls[node % len(self._urls)], request):
            if not request.pushes[0].repeatable:
                _give(request, "unknown")
                return
            if time.monotonic() > deadline_s:
                _give(request, "given up")
                return
            node += 1
            await asyncio.sleep(pause_s * self._source.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, MAX_PAUSE_S)

    async def _attempt(self, http: httpx.AsyncClient, url: str, request: Request) -> bool:
        """Return whether the request has to be repeated."""
        for push in request.pushes:
            push.attempts += 1
        try:
            response = await http.post(
                url + PREFIX + request.path, content=request.content.encode(), headers=request.headers
            )
        except httpx.HTTPError as error:
            self._journal.answers[type(error).__name__] += 1
            self._trouble(request.pushes, type(error).__name__)
            return True
        self._journal.answers[str(response.status_code)] += 1
        if response.status_code != 200:
            self._refuse(request.pushes, response.status_code, response.text)
            return any(push.outcome == "open" for push in request.pushes)
        answer = response.json()
        results = answer["results"] if request.is_batch else [answer]
        for push, result in zip(request.pushes, results, strict=True):
            if "error" in result:
                self._journal.answers[f"item {result['error']['status']}"] += 1
                self._refuse([push], result["error"]["status"], str(result["error"]))
            else:
                self._accept(push, result)
        return any(push.outcome == "open" for push in request.pushes)

    def _accept(self, push: Push, result: dict[str, Any]) -> None:
        push.ids.add(result["id"])
        push.unreached = list(result.get("unreached", ()))
        if push.outcome == "open":
            if push.attempts > 1:
                push.accepted = next(self._order)
            push.accepted_s = time.monotonic()
            push.status = result["status"]
            push.outcome = "accepted"

    def _refuse(self, pushes: Sequence[Push], status: int, text: str) -> None:
        if status not in PASSING:
            self._journal.bad_answers.append(f"{status} for {pushes[0].kind} {pushes[0].tag}: {text[:200]}")
        self._trouble(pushes, f"{status} {text[:200]}")
        for push in pushes:
            if push.outcome == "open" and (status not in PASSING or (status == 429 and not push.repeatable)):
                push.outcome = "refused"

    def _trouble(self, pushes: Sequence[Push], problem: str) -> None:
        self._journal.last_trouble_s = time.monotonic()
        for push in pushes:
            push.last_problem = problem


def _give(request: Request, outcome: Any) -> None:
    for push in request.pushes:
        if push.outcome == "open":
            push.outcome = outcome


def _message(push: Push, data: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"receiver": push.receiver, "type": "STRING_MSG", "data": data}
    if push.own_id is not None:
        fields["id"] = push.own_id
    if push.persisted:
        fields["persist"] = True
    return fields
