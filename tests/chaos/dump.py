"""The journal as JSON lines, to follow one push with `grep`: by its tag, and by its message id."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos.journal import Journal


def dump(journal: Journal, path: Path) -> None:
    """Write what happened in the order of time; `s` is seconds since the fault began."""
    events = sorted(_events(journal), key=lambda event: float(event["s"]))
    for event in events:
        event["s"] = round(event["s"] - journal.fault_began_s, 3)
    path.write_text("".join(f"{json.dumps(event, default=sorted)}\n" for event in events))


def _events(journal: Journal) -> Iterator[dict[str, Any]]:
    for push in journal.pushes.values():
        yield {"s": push.began_s, "event": "push", **asdict(push)}
        if push.outcome == "accepted":
            yield {"s": push.accepted_s, "event": "accepted", "tag": push.tag, "ids": push.ids}
    for session in journal.sessions:
        about = {"client": session.client, "node": session.node}
        if session.subscribed_s is not None:
            yield {"s": session.subscribed_s, "event": "subscribed", **about}
        if session.ended_s is not None:
            yield {"s": session.ended_s, "event": "ended", "code": session.code, **about}
        for item in session.received:
            yield {"s": item.at_s, "event": "received", **about, **asdict(item)}
    for client, acks in journal.acks.items():
        for message_id, at_s in acks.sent_s.items():
            yield {"s": at_s, "event": "ack sent", "client": client, "message_id": message_id}
        for message_id, at_s in acks.confirmed_s.items():
            yield {"s": at_s, "event": "ack confirmed", "client": client, "message_id": message_id}
