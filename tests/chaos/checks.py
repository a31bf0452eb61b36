"""What the service says at the end: the status of a sample of pushes, and the history of every user."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx

from tests.chaos.journal import TAG, Journal
from tests.chaos.publisher import PREFIX
from tests.chaos.world import MESSAGE_TTL_S

SAMPLE = 200
TRIES = 10
PAGE = 100
MARGIN_S = 20.0


async def check_statuses(journal: Journal, urls: Sequence[str], source: random.Random) -> None:
    """Ask for pushes with a confirmed acknowledgement: they are delivered. The others are not expired."""
    confirmed = {key for acks in journal.acks.values() for key in acks.confirmed_s}
    horizon_s = time.monotonic() - MESSAGE_TTL_S + MARGIN_S
    known = [push for push in journal.pushes.values() if push.receiver and push.accepted_s > horizon_s and push.ids]
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        for push in source.sample(known, min(SAMPLE, len(known))):
            message_id = min(push.ids)
            status = await _status(http, urls, message_id, source)
            journal.statuses += 1
            is_acked = message_id in confirmed
            if (is_acked and status != "delivered") or status == "expired":
                acked = "acknowledged" if is_acked else "not acknowledged"
                journal.wrong_statuses.append(f"{push.tag} ({push.kind}, {push.status}) is {status}, {acked}")


async def check_history(journal: Journal, users: Sequence[str], urls: Sequence[str]) -> None:
    """Every persisted push is in the history of its receiver, once."""
    found: Counter[str] = Counter()
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        for user in users:
            found.update(await _history(http, urls[0], user))
    for push in journal.pushes.values():
        if push.persisted and push.outcome == "accepted" and not found[push.tag]:
            journal.not_in_history.append(push.tag)
    journal.twice_in_history += [tag for tag, copies in found.items() if copies > 1]


async def _status(http: httpx.AsyncClient, urls: Sequence[str], message_id: str, source: random.Random) -> str:
    """Return the status, or the last problem if no node has one to give."""
    problem = ""
    for _ in range(TRIES):
        try:
            response = await http.get(f"{source.choice(urls)}{PREFIX}/push_status/{message_id}")
        except httpx.HTTPError as error:
            problem = type(error).__name__
        else:
            if response.status_code == 200:
                return str(response.json()["status"])
            problem = str(response.status_code)
            if response.status_code == 404:
                return problem
        await asyncio.sleep(0.5)
    return problem


async def _history(http: httpx.AsyncClient, url: str, user: str) -> list[str]:
    tags: list[str] = []
    parameters: dict[str, Any] = {"page_size": PAGE}
    while True:
        response = await http.get(
            f"{url}/api/notify/history", params=parameters, headers={"Authorization": f"Bearer {user}"}
        )
        response.raise_for_status()
        page = response.json()
        texts = [item["data"] for item in page["items"]]
        tags += [text.partition(" ")[0] for text in texts if isinstance(text, str) and text.startswith(TAG)]
        if page["next"] is None:
            return tags
        parameters["created"] = page["next"]
